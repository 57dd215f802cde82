// Searches, filters and pages the samples. Without JavaScript the page shows all of them.
"use strict";
(() => {
  const SAMPLES_PER_PAGE = 5;
  const cards = [...document.querySelectorAll(".sample")];
  if (!cards.length) return;
  const [search, previous, next, position] = ["search", "previous", "next", "position"].map((id) =>
    document.getElementById(id),
  );
  const filters = [...document.querySelectorAll(".browse select")];
  const texts = cards.map((card) => card.textContent.toLowerCase());
  let first = 0;

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = cards.filter(
      (card, i) =>
        filters.every(({ value }) => !value || card.hasAttribute(`data-${value}`)) &&
        words.every((word) => texts[i].includes(word)),
    );
    const lastPageStart = Math.floor((matching.length - 1) / SAMPLES_PER_PAGE) * SAMPLES_PER_PAGE;
    first = Math.max(0, Math.min(first, lastPageStart));
    const shown = new Set(matching.slice(first, first + SAMPLES_PER_PAGE));
    for (const card of cards) card.hidden = !shown.has(card);
    position.value = matching.length ? `${first + 1}–${first + shown.size} of ${matching.length}` : "no matches";
    previous.disabled = first === 0;
    next.disabled = first + SAMPLES_PER_PAGE >= matching.length;
  }

  function turn(pages) {
    first += pages * SAMPLES_PER_PAGE;
    show();
    document.getElementById("samples").scrollIntoView();
  }

  function restart() {
    first = 0;
    show();
  }

  search.addEventListener("input", restart);
  for (const filter of filters) filter.addEventListener("change", restart);
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  document.querySelector(".browse").hidden = false;
  show();
})();

// Searches, filters and pages the samples. Without it all of them are shown.
"use strict";
(() => {
  const A_PAGE = 5;
  const cards = [...document.querySelectorAll(".sample")];
  if (!cards.length) return;
  const [find, only, back, on, where] = ["find", "only", "back", "on", "where"].map((id) => document.getElementById(id));
  const texts = cards.map((card) => card.textContent.toLowerCase());
  let first = 0;

  function draw() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = cards.filter(
      (card, i) => (!only.value || only.value in card.dataset) && words.every((word) => texts[i].includes(word)),
    );
    first = Math.max(0, Math.min(first, Math.floor((wanted.length - 1) / A_PAGE) * A_PAGE));
    const shown = new Set(wanted.slice(first, first + A_PAGE));
    for (const card of cards) card.hidden = !shown.has(card);
    where.value = wanted.length ? `${first + 1}–${first + shown.size} of ${wanted.length}` : "nothing found";
    back.disabled = first === 0;
    on.disabled = first + A_PAGE >= wanted.length;
  }

  function turn(pages) {
    first += pages * A_PAGE;
    draw();
    document.getElementById("samples").scrollIntoView();
  }

  find.addEventListener("input", () => { first = 0; draw(); });
  only.addEventListener("change", () => { first = 0; draw(); });
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  document.querySelector(".browse").hidden = false;
  draw();
})();

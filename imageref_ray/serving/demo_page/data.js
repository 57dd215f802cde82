// "Data": the samples of a run, as `imageref inspect` shows them.

import { get } from "./api.js";
import { byId, counted, element, link } from "./dom.js";

const COUNT = 5;
let offset = 0;
let records = 0;

export async function startData() {
  byId("run").addEventListener("change", () => turn(0));
  byId("samples-previous").addEventListener("click", () => turn(offset - COUNT));
  byId("samples-next").addEventListener("click", () => turn(offset + COUNT));
  enable();
  try {
    const { runs } = await get("demo/runs");
    if (!runs.length) {
      say("No run is shown: set the endpoint's `runs` to a folder that has some, e.g. --set runs=runs.");
      return;
    }
    byId("run").append(
      ...runs.map(({ name, job, finished }) => element("option", { value: name }, `${name} (${job}${finished ? "" : ", not finished"})`)),
    );
    await turn(0);
  } catch (error) {
    say(error.message, true);
  }
}

function say(text, isError = false) {
  byId("data-status").textContent = text;
  byId("data-status").classList.toggle("error", isError);
}

function enable() {
  byId("samples-previous").disabled = offset <= 0;
  byId("samples-next").disabled = offset + COUNT >= records;
}

async function turn(first) {
  const run = byId("run").value.split("/").map(encodeURIComponent).join("/");
  say("Reading …");
  try {
    const page = await get(`demo/runs/${run}?offset=${Math.max(0, first)}&count=${COUNT}`);
    offset = Math.max(0, first);
    records = page.records;
    byId("samples").replaceChildren(...failures(page.failures), ...page.samples.map(sample));
    const last = offset + page.samples.length;
    byId("samples-position").value = records ? `${offset + 1}–${last} of ${records.toLocaleString("en")}` : "no records";
    say("");
  } catch (error) {
    say(error.message, true);
  }
  enable();
}

function failures(kinds) {
  if (!kinds.length) return [];
  const all = kinds.reduce((sum, { count }) => sum + count, 0);
  const rows = kinds.map(({ error, stage, count, example }) =>
    element("li", { dir: "auto" }, element("b", {}, error), ` in ${stage}, ${count}: ${example}`),
  );
  return [element("details", { class: "notice" }, element("summary", {}, `${counted(all, "item")} left out or failed`), element("ul", {}, rows))];
}

function sample(card) {
  const content = card.kind === "record" ? record(card) : fields(card.fields);
  const title = element("h2", { dir: "auto" }, card.title);
  const about = card.kind === "record" ? [card.id, card.category, `${card.placed} of ${counted(card.images, "picture")} placed`] : [card.id];
  return element("article", { class: "sample panel", "aria-label": card.title }, [
    title,
    element("p", { class: "hint" }, about.filter(Boolean).join(" · ")),
    card.notes.map((note) => element("p", { class: "error", dir: "auto" }, note)),
    content,
    card.failures.map(({ error, item, stage, message }) =>
      element("p", { class: "removed", dir: "auto" }, element("del", {}, item || "the record"), ` ${error} in ${stage}: ${message}`),
    ),
    element("p", { class: "figures" }, `${counted(card.usage.prompt_tokens, "token")} read, ${card.usage.generated_tokens.toLocaleString("en")} written, in ${counted(card.usage.requests, "request")}`),
  ].flat());
}

function record({ blocks, unplaced, documents }) {
  return element("div", { class: "bench" }, [
    element("div", { class: "work prose" }, blocks.map(block)),
    element("div", { class: "side" }, [
      documents.map(source),
      unplaced.length ? element("h3", {}, "Pictures not placed") : null,
      element("div", { class: "unplaced" }, unplaced.map((image) => figure(image))),
    ].flat()),
  ]);
}

function block({ kind, text, slot, image, reason }) {
  if (kind === "title") return element("h3", { dir: "auto" }, text);
  if (kind === "header") return element("h4", { dir: "auto" }, text);
  if (kind === "text") return element("p", { dir: "auto" }, text);
  const why = reason ? element("details", {}, element("summary", {}, "Why"), element("p", { dir: "auto" }, reason)) : "";
  return image ? figure(image, why) : element("div", { class: "empty" }, `slot ${slot}: no picture`, why);
}

function figure({ src, problem, number, caption, description, document }, more = "") {
  return element("figure", { class: "placed" }, [
    src ? element("img", { src, alt: caption || `IMAGE_${number}`, loading: "lazy" }) : element("span", { class: "missing" }, "The picture could not be opened."),
    element("figcaption", {}, [
      element("span", { class: "caption", dir: "auto" }, caption || `IMAGE_${number}`),
      description ? element("span", { class: "hint", dir: "auto" }, description) : "",
      element("span", { class: "hint", dir: "auto" }, `IMAGE_${number} · ${document}`),
      problem ? element("span", { class: "error", dir: "auto" }, problem) : "",
      more,
    ]),
  ]);
}

function source({ id, title, url, pieces }) {
  const words = pieces.map((piece) => (typeof piece === "string" ? piece : element("span", { class: "mark" }, `IMAGE_${piece.number}`)));
  return element("details", { class: "document" }, [
    element("summary", { dir: "auto" }, title || id),
    url ? element("p", { class: "hint" }, link(url)) : "",
    element("p", { class: "text", dir: "auto" }, words),
  ]);
}

function fields(rows) {
  return element("dl", { class: "fields" }, rows.flatMap(([name, text]) => [element("dt", {}, name), element("dd", { dir: "auto" }, text)]));
}

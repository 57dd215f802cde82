// A draft and its correction: each unit kept, rewritten or dropped, with how likely the picture shows it.

import { counted, element } from "./dom.js";

const OUTCOMES = {
  kept: { sign: "✓", word: "kept" },
  rewritten: { sign: "↻", word: "rewritten" },
  dropped: { sign: "✕", word: "dropped" },
};
const ENDED = {
  end: "the model ended its answer",
  steps: "as many units as were asked for",
  repeats: "it began to repeat itself",
  length: "it reached its limit of tokens",
};

/** The element of one request's answer, and `take` for its events. `say` tells what happened. */
export function makeCorrection(request, say) {
  const started = performance.now();
  const parts = {
    question: element("p", { class: "asked", dir: "auto" }, request.question ?? "…"),
    draft: element("div", { class: "prose", dir: "auto", "aria-busy": "true" }),
    units: element("ol", { class: "units" }),
    answer: element("div", { class: "prose", dir: "auto" }),
    foot: element("footer", { class: "foot" }),
  };
  const made = element("article", { class: "correction", "aria-label": "Answer" }, [
    element("div", { class: "panel question" }, [
      element("img", { src: request.image, alt: "The picture that is asked about" }),
      element("div", {}, element("h2", {}, "Question"), parts.question),
    ]),
    element("div", { class: "answers" }, [
      element("section", { class: "panel" }, element("h2", {}, "Draft"), parts.draft),
      element("section", { class: "panel" }, element("h2", {}, "Correction"), parts.units),
    ]),
    element("section", { class: "panel final", hidden: true }, element("h2", {}, "Answer"), parts.answer, parts.foot),
  ]);

  function take({ delta, ...value }) {
    if (!delta) return finish(parts, value, performance.now() - started, say);
    if (delta.question !== undefined) {
      parts.question.textContent = delta.question;
      parts.draft.textContent = "";
    }
    if (delta.draft !== undefined) parts.draft.append(delta.draft);
    if (delta.unit) parts.units.append(unit(delta.unit));
    return undefined;
  }

  return { element: made, take, end: () => parts.draft.setAttribute("aria-busy", "false") };
}

function finish(parts, value, milliseconds, say) {
  const { question, draft, units, candidates = [], answer, ended, usage } = value;
  parts.question.textContent = question;
  parts.draft.textContent = draft ?? "A knowledge question of your own has no draft.";
  parts.draft.setAttribute("aria-busy", "false");
  parts.units.replaceChildren(...(candidates.length ? candidates.map(candidate) : units.map(unit)));
  if (!parts.units.childElementCount) parts.units.replaceWith(element("p", { class: "hint" }, "The draft was not corrected."));
  parts.answer.textContent = answer;
  parts.answer.closest("section").hidden = false;
  const how = tally(units);
  const figures = [how, ENDED[ended], `${(milliseconds / 1000).toFixed(1)} s`, usage && `${counted(usage.prompt_tokens, "token")} read, ${usage.completion_tokens} written`];
  parts.foot.replaceChildren(element("p", { class: "figures" }, figures.filter(Boolean).join(" · ")));
  say(`The answer is there${how ? `: ${how}` : ""}.`);
}

function tally(units) {
  return Object.keys(OUTCOMES)
    .map((outcome) => [units.filter((one) => one.outcome === outcome).length, outcome])
    .filter(([number]) => number)
    .map(([number, outcome]) => `${number} ${outcome}`)
    .join(", ");
}

function unit({ text, outcome, became, probability, retry }) {
  const { sign, word } = OUTCOMES[outcome];
  return element("li", { class: `unit ${outcome}` }, [
    element("p", { class: "verdict" }, [
      element("span", { class: "sign", "aria-hidden": "true" }, sign),
      element("span", {}, word),
      likelihood(probability, "that the picture shows it"),
    ]),
    outcome === "kept" ? element("p", { dir: "auto" }, text) : element("p", { dir: "auto" }, element("del", {}, text)),
    became ? element("p", { dir: "auto" }, element("ins", {}, became), likelihood(retry?.probability, "that it shows this")) : null,
    !became && retry ? element("p", { class: "hint", dir: "auto" }, `Tried in its place: ${retry.text.trim()}`, likelihood(retry.probability, "that it shows this")) : null,
  ]);
}

function candidate({ text, weight }) {
  return element("li", { class: "unit kept" }, [
    element("p", { dir: "auto" }, text),
    element("p", { class: "verdict" }, `weight ${weight.toPrecision(3)}`),
  ]);
}

/** A probability as a bar and a number; nothing where the model was not asked. */
function likelihood(probability, of) {
  if (probability === null || probability === undefined) return null;
  const percent = `${Math.round(100 * probability)} %`;
  return element("span", { class: "likelihood", title: `${percent} ${of}` }, [
    element("meter", { min: 0, max: 1, value: probability, "aria-label": `Probability ${of}` }),
    percent,
  ]);
}

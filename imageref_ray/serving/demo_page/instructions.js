// "Instructions, corrected": a picture, a question or none, and the answer beside what the correction made of it.

import { Failure, get, post } from "./api.js";
import { offerCode } from "./code.js";
import { bringIntoView, byId, chips, dataUrl, element, numberIn } from "./dom.js";
import { makeCorrection } from "./correction.js";

const PATH = "v1/instructions";
const KNOWLEDGE = ["okvqa", "a_okvqa"];

/** Field of the request → its label and bounds, and the decodings that have it (none: all). */
const SAMPLING = {
  min_tokens: { label: "Least tokens", min: 0 },
  max_tokens: { label: "Most tokens", min: 1 },
  n: { label: "n", min: 2, max: 16, value: 4, decodings: ["best"] },
  temperature: { label: "Temperature", min: 0.1, max: 2, step: 0.1, value: 1, decodings: ["best", "nucleus"] },
  top_p: { label: "Top-p", min: 0.05, max: 1, step: 0.05, value: 0.9, decodings: ["nucleus"] },
  top_k: { label: "Top-k", min: -1, decodings: ["nucleus"] },
  repetition_penalty: { label: "Repetition penalty", min: 0.1, step: 0.1 },
  presence_penalty: { label: "Presence penalty", min: -2, max: 2, step: 0.1 },
  frequency_penalty: { label: "Frequency penalty", min: -2, max: 2, step: 0.1 },
  threshold: { label: "Threshold of “yes”", min: 0, max: 1, step: 0.05, corrections: ["verify"] },
  seed: { label: "Seed", step: 1 },
};

const inputs = {};
let running = null;

export async function startInstructions() {
  const form = byId("correct");
  byId("decoding").append(...Object.entries(SAMPLING).map(samplingField));
  form.addEventListener("change", fit);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  byId("correct-stop").addEventListener("click", () => running?.abort());
  byId("picture-file").addEventListener("change", takeFile);
  offerCode(form, PATH, () => (usable() ? body() : undefined));
  fit();
  try {
    const { pictures } = await get("demo/examples");
    for (const picture of pictures) offer(picture);
    choose(byId("pictures").querySelector("input"));
  } catch (error) {
    say(error.message, true);
  }
}

function samplingField([name, { label, decodings, corrections, ...bounds }]) {
  inputs[name] = element("input", { type: "number", placeholder: "default", ...bounds });
  return element("label", { class: "field" }, label, inputs[name]);
}

/** Shows the fields that have an effect beside the others; the endpoint refuses the rest. */
function fit() {
  const knowledge = KNOWLEDGE.includes(byId("task").value);
  const correction = byId("correction").value;
  byId("correction").disabled = knowledge;
  const idle = knowledge || correction === "none";
  for (const id of ["unit", "steps", "last-all"]) byId(id).disabled = idle;
  for (const [name, { decodings, corrections }] of Object.entries(SAMPLING)) {
    const fits = (!decodings || decodings.includes(decoding())) && (!corrections || (!idle && corrections.includes(correction)));
    inputs[name].disabled = !fits;
    inputs[name].parentElement.hidden = !fits;
  }
}

function decoding() {
  return document.querySelector("input[name=decoding]:checked").value;
}

/** Adds a picture to those that can be picked. */
function offer({ name, alt, src, questions = [] }) {
  const input = element("input", { type: "radio", name: "picture", value: name });
  input.picture = { src, questions };
  input.addEventListener("change", () => choose(input));
  byId("pictures").append(element("label", {}, input, element("img", { src, alt: alt || name, title: alt || name })));
  return input;
}

function choose(input) {
  input.checked = true;
  byId("picture-questions").replaceChildren(...chips(input.picture.questions, byId("own-question")));
}

async function takeFile() {
  const [file] = byId("picture-file").files;
  if (!file) return;
  try {
    if (!file.type.startsWith("image/")) throw new Error(`${file.name} is not a picture.`);
    choose(offer({ name: file.name, src: await dataUrl(file) }));
    say(`${file.name} is picked.`);
  } catch (error) {
    say(error.message, true);
  }
}

function say(text, isError = false) {
  byId("instructions-status").textContent = text;
  byId("instructions-status").classList.toggle("error", isError);
}

function picked() {
  return byId("pictures").querySelector("input:checked")?.picture;
}

function usable() {
  if (!picked()) say("Pick a picture first, or bring one.", true);
  return Boolean(picked()) && byId("correct").reportValidity();
}

function body(stream) {
  const question = byId("own-question").value.trim();
  const asked = { image: picked().src, task: byId("task").value, ...(question ? { question } : {}) };
  if (!byId("correction").disabled) asked.correction = byId("correction").value;
  if (!byId("steps").disabled) {
    Object.assign(asked, { unit: byId("unit").value, steps: numberIn(byId("steps")) });
    if (byId("last-all").checked) asked.last_all = true;
  }
  for (const [name, input] of Object.entries(inputs)) if (!input.disabled) asked[name] = numberIn(input);
  return { ...asked, ...(stream ? { stream } : {}) };
}

async function write() {
  if (!usable()) return;
  running?.abort();
  const control = new AbortController();
  running = control;
  const request = body(true);
  const shown = makeCorrection(request, say);
  byId("instruction-shown").replaceChildren(shown.element);
  byId("correct-stop").hidden = false;
  say("Asked …");
  bringIntoView(byId("instructions-status"), "start");
  try {
    for await (const value of post(PATH, request, control.signal)) shown.take(value);
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof Failure)) throw error;
    const stopped = error.name === "AbortError";
    say(stopped ? "Stopped." : error.message, !stopped);
    shown.end();
  }
  if (running === control) {
    byId("correct-stop").hidden = true;
    running = null;
  }
}

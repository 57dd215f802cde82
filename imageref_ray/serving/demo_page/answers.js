// "Answers with pictures": documents, a question, and one answer or two beside each other.

import { Failure, get, post } from "./api.js";
import { makeAnswer } from "./answer.js";
import { offerCode } from "./code.js";
import * as documents from "./documents.js";
import { byId, chips, element, numberIn } from "./dom.js";

const PATH = "v1/reference";
const NAMES = { "": "Answer", direct: "Direct", staged: "Staged" };

let running = null;
let examples = new Map();

export async function startAnswers() {
  const form = byId("ask");
  byId("document-add").addEventListener("click", documents.add);
  byId("ask-stop").addEventListener("click", () => running?.abort());
  byId("example").addEventListener("change", () => pick(byId("example").value));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  offerCode(form, PATH, () => (usable() ? body(methods()[0]) : undefined));
  documents.replaceAll([]);
  await offerExamples();
}

async function offerExamples() {
  try {
    const { events } = await get("demo/examples");
    byId("example").append(...events.map(({ id, title }) => element("option", { value: id }, title)));
    examples = new Map(events.map((event) => [event.id, event]));
    if (documents.isEmpty()) {
      byId("example").value = events[0].id;
      await pick(events[0].id);
    }
  } catch (error) {
    say(error.message, true);
  }
}

async function pick(id) {
  byId("answers-shown").replaceChildren();
  byId("event-questions").replaceChildren();
  say("");
  if (!id) {
    documents.replaceAll([]);
    byId("question").value = "";
    return;
  }
  const { documents: given } = await get(`demo/examples/${encodeURIComponent(id)}`);
  documents.replaceAll(given);
  const { questions } = examples.get(id);
  [byId("question").value] = questions;
  byId("event-questions").replaceChildren(...chips(questions, byId("question")));
}

function say(text, isError = false) {
  byId("answers-status").textContent = text;
  byId("answers-status").classList.toggle("error", isError);
}

/** Whether there is something to ask; says what is missing. */
function usable() {
  if (documents.isEmpty()) {
    say("There is no document yet: pick an example, or add one.", true);
    return false;
  }
  return byId("ask").reportValidity();
}

function methods() {
  const { value } = document.querySelector("input[name=method]:checked");
  return value === "both" ? ["direct", "staged"] : [value];
}

function body(method, stream) {
  const language = byId("language").value.trim();
  return {
    question: byId("question").value,
    documents: documents.asSent(),
    ...(method ? { method } : {}),
    ...(language ? { language } : {}),
    max_tokens: numberIn(byId("answer-max")),
    temperature: numberIn(byId("answer-temperature")),
    seed: numberIn(byId("answer-seed")),
    format: "html",
    ...(stream ? { stream } : {}),
  };
}

async function ask() {
  if (!usable()) return;
  running?.abort();
  const control = new AbortController();
  running = control;
  documents.readAll();
  const answers = methods().map((method) => ({ method, shown: makeAnswer(NAMES[method], say) }));
  byId("answers-shown").replaceChildren(...answers.map(({ shown }) => shown.element));
  byId("ask-stop").hidden = false;
  say("Asked …");
  await Promise.all(answers.map(({ method, shown }) => follow(method, shown, control.signal)));
  if (running === control) {
    byId("ask-stop").hidden = true;
    running = null;
  }
}

async function follow(method, shown, signal) {
  try {
    for await (const value of post(PATH, body(method, true), signal)) shown.take(value);
    shown.end();
  } catch (error) {
    if (error.name === "AbortError") shown.end("Stopped.");
    else if (error instanceof Failure) shown.fail(error.message);
    else throw error;
  }
}

// The endpoint as its clients see it: JSON, server-sent events, errors as sentences, a key where one is wanted.

import { byId } from "./dom.js";

const BASE = new URL(".", location.href);
const STORED = "imageref-key";

/** What the endpoint answered, or why it did not, in words. */
export class Failure extends Error {}

export function address(path) {
  return new URL(path, BASE).href;
}

export function hasKey() {
  return Boolean(sessionStorage.getItem(STORED));
}

/** The value of a JSON answer. Throws Failure. */
export async function get(path) {
  return (await request(path, {})).json();
}

/** Asks with a JSON body; yields the values of its events, or the one of an answer that is no stream. Throws Failure. */
export async function* post(path, body, signal) {
  const headers = { "content-type": "application/json" };
  const response = await request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    yield await response.json();
    return;
  }
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const value = JSON.parse(data);
    if (value.error) throw new Failure(sentence(value.error));
    yield value;
  }
  throw new Failure("The connection ended before the answer was whole; ask again.");
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const pieces = (text + value).split("\n\n");
    text = pieces.pop();
    for (const piece of pieces) {
      const lines = piece.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}

async function request(path, options) {
  let problem = "";
  for (;;) {
    const key = sessionStorage.getItem(STORED);
    const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
    let response;
    try {
      response = await fetch(address(path), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The endpoint cannot be reached. Is it still running?");
    }
    if (response.ok) return response;
    if (response.status !== 401) throw new Failure(await reason(response));
    problem = key ? "This key is not known here." : "";
    await askForKey(problem);
  }
}

async function reason(response) {
  const wait = response.headers.get("retry-after");
  try {
    return sentence((await response.json()).error, wait);
  } catch {
    return `The endpoint answered with status ${response.status}${wait ? `; ask again in ${wait} s` : ""}.`;
  }
}

function sentence({ message, request_id: id }, wait) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  const again = wait && !text.includes("ask again") ? ` Ask again in ${wait} s.` : "";
  return `${text}${/[.!?]$/.test(text) ? "" : "."}${again}${id ? ` (${id})` : ""}`;
}

let asking;

/** Asks for the key once, however many requests want it. Throws Failure where none is given. */
export function askForKey(problem = "") {
  asking ??= new Promise((resolve, reject) => {
    const dialog = byId("key-dialog");
    const form = dialog.querySelector("form");
    byId("key-problem").textContent = problem;
    byId("key").value = "";
    let given = false;
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(STORED, byId("key").value.trim());
      byId("key-change").hidden = false;
      given = true;
      dialog.close();
    };
    dialog.onclose = () => {
      asking = undefined;
      if (given) resolve();
      else reject(new Failure("Without a key this endpoint does not answer."));
    };
    dialog.showModal();
  });
  return asking;
}

// One answer on its way: text as it comes, pictures at their places, what was taken out and why.

import { lightDocument, titleOf, whereIs } from "./documents.js";
import { counted, element } from "./dom.js";
import { sanitised } from "./sanitised.js";

const REFERENCE = /^\s*(?:IMAGE_(\d+)|!\[.*\]\(IMAGE_(\d+)\))\s*$/;
const STAGES = { respond: "Writing the response", caption: "Captioning the pictures", place: "Choosing their places", answer: "Writing" };

/** An answer's element, and what to call with its events (`take`), at its `end`, and when it fails. `say` tells all. */
export function makeAnswer(title, say) {
  const started = performance.now();
  const text = element("div", { class: "prose", "aria-busy": "true" });
  const progress = element("p", { class: "progress" }, "Waiting for its turn …");
  const foot = element("footer", { class: "foot" });
  const made = element("article", { class: "answer panel", "aria-label": title }, [
    element("header", { class: "head" }, element("h2", {}, title), progress),
    text,
    foot,
  ]);
  const state = { text, blocks: 0, line: "", tail: null, references: new Map(), breaches: [], staged: false, whole: false };

  function take(value) {
    if (value.object === "reference") {
      finish(state, value);
      foot.replaceChildren(...footer(value));
      say(`${title}: ${summary(value)}`);
      return;
    }
    const { delta } = value;
    if (delta.stage) {
      progress.textContent = told(delta);
      state.staged ||= delta.stage !== "answer";
    }
    if (delta.reference) addReference(state, delta.reference);
    if (delta.breach) addBreach(state, delta.breach);
    if (delta.markdown) write(state, delta.markdown);
  }

  function end(word = "") {
    if (!state.whole) flush(state);
    text.setAttribute("aria-busy", "false");
    progress.textContent = word || `${((performance.now() - started) / 1000).toFixed(1)} s`;
    if (word) say(`${title}: ${word}`);
  }

  function fail(message) {
    end("Failed");
    foot.replaceChildren(element("p", { class: "error" }, message));
    say(message, true);
  }

  return { element: made, take, end, fail };
}

function told({ stage, done, of }) {
  return `${STAGES[stage] ?? stage}${of > 1 ? `, ${done} of ${of}` : ""} …`;
}

// While it comes: a line is a block; its first signs say which. The whole answer's markup replaces it at the end.

function write(state, markdown) {
  const lines = (state.line + markdown).split("\n");
  state.line = lines.pop();
  for (const line of lines) finishLine(state, line);
  if (state.line.trim() && !/^\s*(!\[|!$|I(M|$))/.test(state.line)) show(state, state.line);
}

function show(state, line) {
  const [, marks, words] = /^\s*(#{0,6})\s*(.*)$/.exec(line);
  const name = marks ? `h${Math.min(marks.length + 2, 6)}` : "p";
  if (state.tail?.localName !== name) {
    state.tail?.remove();
    state.tail = element(name, { dir: "auto" });
    state.text.append(state.tail);
  }
  state.tail.textContent = words;
}

function finishLine(state, line) {
  const found = REFERENCE.exec(line);
  const reference = found && state.references.get(Number(found[1] ?? found[2]));
  if (reference) {
    state.text.append(picture(reference));
  } else if (line.trim()) {
    show(state, line);
    if (state.tail.localName === "p") state.blocks += 1;
    state.tail.dataset.block = state.tail.localName === "p" ? state.blocks : "";
  }
  state.tail = null;
}

function flush(state) {
  if (state.line.trim()) finishLine(state, state.line);
  state.line = "";
}

/** In a direct answer a reference comes before its line; in a staged one when all text is there, with its place. */
function addReference(state, reference) {
  state.references.set(reference.k, reference);
  if (!state.staged) return;
  flush(state);
  state.text.querySelector(`[data-block="${reference.slot}"]`)?.after(picture(reference));
}

/** What was taken out stood after the block that is there now, or in it. */
function addBreach(state, breach) {
  if (REFERENCE.test(state.line)) flush(state);
  state.text.append(removed(breach));
  state.breaches.push({ breach, after: state.text.querySelectorAll(":scope > :not(.removed)").length });
}

/** The whole answer: its sanitised markup, or its lines where the endpoint gives none. */
function finish(state, answer) {
  const seen = state.breaches.length;
  const later = answer.breaches.slice(seen).map((breach) => ({ breach, after: Infinity }));
  state.whole = true;
  state.text.replaceChildren();
  if (answer.html) {
    const inOrder = [...answer.references];
    state.text.append(sanitised(answer.html, () => (inOrder.length ? picture(inOrder.shift()) : undefined)));
  } else {
    const references = new Map(answer.references.map((reference) => [reference.k, reference]));
    Object.assign(state, { references, tail: null, blocks: 0, line: "" });
    write(state, answer.markdown);
    flush(state);
  }
  cite(state.text, answer.citations ?? []);
  const blocks = [...state.text.children];
  for (const { breach, after } of [...state.breaches, ...later]) {
    const next = blocks.slice(after).find((block) => block.localName !== "figure"); // pictures stand with the text before
    if (next) next.before(removed(breach));
    else state.text.append(removed(breach));
  }
}

function picture(reference) {
  const source = whereIs(reference);
  const caption = reference.caption || reference.alt || "";
  const title = source?.title ?? reference.document;
  const light = (on) => () => source?.light(on);
  const image = source?.src
    ? element("img", { src: source.src, alt: caption || `Picture ${reference.k} of the documents` })
    : element("span", { class: "missing" }, "The picture is not on this page.");
  const figure = element("figure", { class: "placed", onmouseenter: light(true), onmouseleave: light(false) }, [
    image,
    element("figcaption", {}, [
      caption ? element("span", { class: "caption", dir: "auto" }, caption) : "",
      element(
        "button",
        {
          type: "button",
          class: "source",
          "aria-label": `Go to where this picture stands: ${title}`,
          onfocus: light(true),
          onblur: light(false),
          onclick: () => source?.go(),
        },
        element("span", { dir: "auto" }, title),
      ),
    ]),
  ]);
  figure.dataset.document = reference.document;
  return figure;
}

/** A reference is struck out; what may load or run something is shown as text, where it stands. */
function removed({ k, message }) {
  return element("p", { class: "removed" }, [
    k ? element("del", {}, `IMAGE_${k}`) : element("b", {}, "Shown as text"),
    " ",
    element("span", { dir: "auto" }, message),
  ]);
}

/** At each block the documents that it rests on, where the endpoint knows them. */
function cite(text, citations) {
  const blocks = [...text.children].flatMap((child) => (/^[uo]l$/.test(child.localName) ? [...child.children] : [child]));
  const counted = blocks.filter((block) => !/^(h\d|figure)$/.test(block.localName));
  for (const { block, documents } of citations) {
    const cited = counted[block - 1];
    const shown = cited?.nextElementSibling?.dataset.document; // its picture says so already
    const others = documents.filter((id) => id !== shown);
    if (!cited || !others.length) continue;
    const chips = others.map((id) => {
      const light = (on) => () => lightDocument(id, on);
      const events = { onmouseenter: light(true), onmouseleave: light(false), onfocus: light(true), onblur: light(false) };
      return element("span", { class: "cited", tabIndex: 0, dir: "auto", ...events }, titleOf(id));
    });
    cited.append(element("span", { class: "citations" }, chips));
  }
}

function summary({ references, breaches, finish_reason: reason }) {
  const cut = reason === "length" ? ", cut at its limit of tokens" : "";
  const out = breaches.length ? `, ${counted(breaches.length, "repair")}` : "";
  return `${counted(references.length, "picture")}${out}${cut}.`;
}

function footer(answer) {
  const { usage, left_out: left, finish_reason: reason } = answer;
  const tokens = usage
    ? `${counted(usage.prompt_tokens, "token")} read, ${usage.completion_tokens.toLocaleString("en")} written`
    : "";
  const figures = [counted(answer.references.length, "picture"), tokens, answer.model];
  return [
    reason === "length" ? element("p", { class: "notice" }, "Cut: it reached its limit of tokens.") : null,
    left?.length
      ? element("div", { class: "notice" }, [
          element("p", {}, `${counted(left.length, "picture")} could not be used:`),
          element("ul", {}, left.map(({ document, image, reason: why }) =>
            element("li", { dir: "auto" }, `${titleOf(String(document))}, ${image ?? "a picture"}: ${why}`))),
        ])
      : null,
    element("p", { class: "figures" }, figures.filter(Boolean).join(" · ")),
  ].filter(Boolean);
}

// The documents that are asked about: read, edited, with pictures that can be found again from an answer.

import { bringIntoView, byId, counted, dataUrl, element } from "./dom.js";

const TEXTS = { md: "markdown", markdown: "markdown", html: "html", htm: "html", txt: "text" };
const LABELS = { text: "Text with [Image k]", markdown: "Markdown", html: "HTML" };
const MARKER = /\[Image (\d+)\]/g;

const documents = [];

/** The documents as `/v1/reference` takes them. */
export function asSent() {
  const written = documents.filter((document) => document.text.trim());
  return written.map(({ id, title, text, format, pictures }) => ({
    id,
    title,
    text,
    images: pictures.map((picture) => picture.src),
    ...(format === "text" ? {} : { format, names: pictures.map((picture) => picture.name) }),
  }));
}

export function isEmpty() {
  return !documents.some((document) => document.text.trim());
}

export function replaceAll(given) {
  documents.length = 0;
  for (const { id, title, text, format = "text", images, names } of given) {
    const pictures = images.map((src, i) => keep(names[i], src));
    documents.push({ id, title, text, format, pictures, editing: false });
  }
  draw();
}

export function add() {
  const used = new Set(documents.map((document) => document.id));
  let number = 1;
  while (used.has(`document-${number}`)) number += 1;
  documents.push({ id: `document-${number}`, title: "", text: "", format: "markdown", pictures: [], editing: true });
  draw();
  documents.at(-1).card.querySelector("input").focus();
}

/** Shows all documents for reading, where the answer's pictures are looked up. */
export function readAll() {
  for (const document of documents) document.editing &&= !document.text.trim();
  draw();
}

/** A reference's picture: its `src`, the title of its document, and how to light up where it stood. */
export function whereIs(reference) {
  const document = documents.find(({ id }) => id === String(reference.document));
  if (!document) return undefined;
  const index = indexOf(reference, document);
  const picture = document.pictures[index];
  return {
    src: picture?.src,
    title: nameOf(document),
    light: (on) => light(document, index, on),
    go: () => go(document, index),
  };
}

/** Lights up a document as a whole. */
export function lightDocument(id, on) {
  documents.find((document) => document.id === id)?.card.classList.toggle("lit", on);
}

export function titleOf(id) {
  const document = documents.find((one) => one.id === id);
  return document ? nameOf(document) : id;
}

function nameOf(document) {
  return document.title || document.id;
}

/** Which of the document's pictures: by its content, else (where a browser computes no hash) by its number. */
function indexOf({ id, sha256 }, { pictures }) {
  const same = pictures.findIndex((picture) => picture.sha256 === sha256);
  return same >= 0 ? same : Number(/\d*$/.exec(id)[0]);
}

/** A picture; its hash follows. */
function keep(name, src) {
  const picture = { name, src };
  hash(src).then((sha256) => Object.assign(picture, { sha256 }));
  return picture;
}

async function hash(src) {
  const bytes = Uint8Array.from(atob(src.slice(src.indexOf(",") + 1)), (char) => char.charCodeAt(0));
  const digest = await crypto.subtle?.digest("SHA-256", bytes); // secure contexts only
  return digest && [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function light({ card, paragraphs, figures }, index, on) {
  card.classList.toggle("lit", on);
  figures?.[index]?.classList.toggle("lit", on);
  paragraphs?.[index]?.classList.toggle("lit", on);
  const beside = matchMedia("(min-width: 900px)").matches;
  if (on && beside) bringIntoView(figures?.[index] ?? card);
}

function go({ card, figures }, index) {
  const target = figures?.[index] ?? card;
  bringIntoView(target);
  target.focus({ preventScroll: true });
}

function draw() {
  for (const document of documents) document.card = document.editing ? editor(document) : reader(document);
  byId("documents").replaceChildren(...documents.map((document) => document.card));
  if (!documents.length) {
    byId("documents").append(
      element("p", { class: "hint" }, "Pick an example, or add a document: paste its text, add its pictures."),
    );
  }
}

function redraw(document) {
  const old = document.card;
  document.card = document.editing ? editor(document) : reader(document);
  old.replaceWith(document.card);
}

function buttons(document, toggle) {
  const named = nameOf(document);
  return element("div", { class: "buttons" }, [
    element("button", { type: "button", class: "quiet", "aria-label": `${toggle} ${named}`, onclick: () => {
      document.editing = !document.editing;
      redraw(document);
      document.card.querySelector("input, button").focus();
    } }, toggle),
    element("button", { type: "button", class: "quiet", "aria-label": `Remove ${named}`, onclick: () => {
      documents.splice(documents.indexOf(document), 1);
      draw();
      byId("document-add").focus();
    } }, "Remove"),
  ]);
}

/** The document as it is read: its paragraphs, and each picture where it stands. */
function reader(document) {
  document.paragraphs = {};
  document.figures = {};
  const body = element("div", { class: "text", dir: "auto" });
  let paragraph = null;
  for (const line of document.text.split("\n")) {
    const at = document.format === "text" ? line.matchAll(MARKER) : [];
    const indices = [...at].map((marker) => Number(marker[1])).concat(namedIn(line, document));
    const words = document.format === "text" ? line.replace(MARKER, "").trim() : line.trim();
    if (words) {
      paragraph = element("p", {}, words);
      body.append(paragraph);
    }
    for (const index of indices) place(document, body, paragraph, index);
  }
  for (const index of document.pictures.keys()) place(document, body, paragraph, index);
  return element("article", { class: "document", "aria-label": nameOf(document) }, [
    element("header", { class: "head" }, [element("h3", { dir: "auto" }, nameOf(document)), buttons(document, "Edit")]),
    body,
  ]);
}

function namedIn(line, { format, pictures }) {
  if (format === "text") return [];
  return [...pictures.keys()].filter((index) => isNamedIn(line, pictures[index].name));
}

function isNamedIn(text, name) {
  return text.includes(name) || text.includes(asAddress(name));
}

/** A file's name as an address in Markdown or HTML. */
function asAddress(name) {
  return encodeURIComponent(name).replace(/[()']/g, (char) => `%${char.charCodeAt(0).toString(16)}`);
}

function place(document, body, paragraph, index) {
  const picture = document.pictures[index];
  if (!picture || document.figures[index]) return;
  const figure = element("figure", { tabIndex: -1 }, thumbnail(picture));
  document.figures[index] = figure;
  document.paragraphs[index] = paragraph;
  body.append(figure);
}

function thumbnail({ src, name }) {
  return element("img", { src, alt: name, loading: "lazy" });
}

/** The document's text and pictures as fields. */
function editor(document) {
  const text = element("textarea", {
    rows: 8,
    value: document.text,
    spellcheck: false,
    oninput: () => {
      document.text = text.value;
    },
  });
  const format = element(
    "select",
    { onchange: () => { document.format = format.value; } },
    Object.entries(LABELS).map(([value, label]) => element("option", { value }, label)),
  );
  format.value = document.format;
  const title = element("input", { value: document.title, maxLength: 500, oninput: () => { document.title = title.value; } });
  const files = element("input", {
    type: "file",
    multiple: true,
    accept: "image/*,.md,.markdown,.html,.htm,.txt",
    onchange: () => takeFiles(document, [...files.files], text),
  });
  const card = element("article", { class: "document editing", "aria-label": nameOf(document) }, [
    element("header", { class: "head" }, [element("h3", { dir: "auto" }, nameOf(document)), buttons(document, "Read")]),
    element("label", { class: "field" }, "Title", title),
    element("label", { class: "field" }, "Format", format),
    element("label", { class: "field" }, "Text", text),
    element("label", { class: "field upload" }, "Pictures, or a file of text", files),
    element("ul", { class: "files" }, document.pictures.map((picture) => element("li", {}, [
      thumbnail({ ...picture, name: "" }),
      element("span", { dir: "auto" }, picture.name),
      element("button", { type: "button", class: "quiet", "aria-label": `Insert ${picture.name} in the text`, onclick: () => {
        insert(document, document.pictures.indexOf(picture), text);
      } }, "Insert"),
    ]))),
    element("p", { class: "error", role: "alert" }),
  ]);
  for (const kind of ["dragover", "drop"]) {
    card.addEventListener(kind, (event) => {
      event.preventDefault();
      if (kind === "drop") takeFiles(document, [...event.dataTransfer.files], text);
    });
  }
  return card;
}

/** Adds pictures, and puts each into the text where the cursor is; a file of text becomes the text. */
async function takeFiles(document, files, text) {
  const refused = [];
  for (const file of files) {
    const format = TEXTS[file.name.split(".").at(-1).toLowerCase()];
    if (format) {
      Object.assign(document, { text: await file.text(), format, title: document.title || file.name });
      text.value = document.text;
    } else if (file.type.startsWith("image/")) {
      document.pictures.push(keep(freeName(document, file.name), await dataUrl(file)));
      if (!isNamedIn(document.text, document.pictures.at(-1).name)) insert(document, document.pictures.length - 1, text);
    } else {
      refused.push(file.name);
    }
  }
  redraw(document);
  if (refused.length) {
    const problem = `${counted(refused.length, "file")} left out, neither a picture nor text: ${refused.join(", ")}`;
    document.card.querySelector(".error").textContent = problem;
  }
}

function freeName({ pictures }, name) {
  const taken = new Set(pictures.map((picture) => picture.name));
  let free = name;
  for (let number = 2; taken.has(free); number += 1) free = `${number}-${name}`;
  return free;
}

/** Writes a picture's mark into the text, on a line of its own. */
function insert(document, index, text) {
  const address = asAddress(document.pictures[index].name);
  const mark = { text: `[Image ${index}]`, markdown: `![](${address})`, html: `<img src="${address}">` }[document.format];
  const before = text.value.slice(0, text.selectionStart);
  const start = before && !before.endsWith("\n") ? "\n" : "";
  text.setRangeText(`${start}${mark}\n`, text.selectionStart, text.selectionEnd, "end");
  document.text = text.value;
}

// Markup that the endpoint has sanitised → nodes. The one place where a string becomes markup: it is parsed in a document
// without scripts or pictures, and of that only the elements below are copied, without attributes but a link's address.

import { element, link } from "./dom.js";

const COPIED = new Set(
  "p h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong del s hr br table thead tbody tr th td sub sup dl dt dd".split(" "),
);
const HEADINGS = "h1, h2, h3, h4, h5, h6";
const policy = globalThis.trustedTypes?.createPolicy("sanitised", { createHTML: (text) => text });

/** The nodes of `html`; `picture()` gives the element of its next picture, or nothing, and then its text stays. */
export function sanitised(html, picture) {
  const parsed = new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html");
  const fragment = document.createDocumentFragment();
  fragment.append(...copies(parsed.body, picture, levels(parsed.body)));
  return fragment;
}

/** Its headings' names → those that stand below the page's own, without a gap. */
function levels(body) {
  const names = [...new Set([...body.querySelectorAll(HEADINGS)].map((node) => node.localName))].sort();
  return Object.fromEntries(names.map((name, rank) => [name, `h${Math.min(3 + rank, 6)}`]));
}

function copies(parent, picture, names) {
  return [...parent.childNodes].flatMap((node) => copy(node, picture, names));
}

function copy(node, picture, names) {
  if (node.nodeType === Node.TEXT_NODE) return [node.data];
  if (node.nodeType !== Node.ELEMENT_NODE) return [];
  if (node.localName === "img" || node.localName === "figure") return [picture() ?? node.textContent];
  const children = copies(node, picture, names);
  if (node.localName === "a") return [link(node.getAttribute("href") ?? "", node.textContent)];
  const only = node.localName === "p" && children.length === 1 && children[0].localName === "figure";
  if (!COPIED.has(node.localName) || only) return children;
  const name = names[node.localName] ?? node.localName;
  return [element(name, node.parentElement.localName === "body" ? { dir: "auto" } : {}, children)];
}

// The page: its tabs, its dialogs, and which module is behind each tab.

import { askForKey, hasKey } from "./api.js";
import { startAnswers } from "./answers.js";
import { startData } from "./data.js";
import { byId } from "./dom.js";
import { startInstructions } from "./instructions.js";

const START = { answers: startAnswers, instructions: startInstructions, data: startData };
const tabs = [...document.querySelectorAll("[role=tab]")];
const started = new Set();

function open(name, focus = false) {
  for (const tab of tabs) {
    const chosen = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  if (!started.has(name)) START[name]();
  started.add(name);
}

const named = () => (Object.hasOwn(START, location.hash.slice(1)) ? location.hash.slice(1) : "answers");

for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => {
    location.hash = tab.getAttribute("aria-controls");
  });
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const target = { Home: 0, End: tabs.length - 1 }[event.key] ?? (step && (i + step + tabs.length) % tabs.length);
    if (target === undefined) return;
    event.preventDefault();
    history.replaceState(null, "", `#${tabs[target].getAttribute("aria-controls")}`);
    open(named(), true);
  });
}
addEventListener("hashchange", () => location.hash !== "#main" && open(named()));

for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
byId("key-change").hidden = !hasKey();
byId("key-change").addEventListener("click", () => askForKey().catch(() => {}));
open(named());

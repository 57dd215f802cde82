// A request as code that can be pasted: curl or Python's standard library, with the pictures in it.

import { address, hasKey } from "./api.js";
import { byId, counted } from "./dom.js";

const WRITERS = { curl: asCurl, Python: asPython };

function asCurl(path, body) {
  const key = hasKey() ? " \\\n  -H \"Authorization: Bearer $IMAGEREF_KEY\"" : "";
  const json = JSON.stringify(body, null, 2);
  return `curl ${address(path)} \\\n  -H 'Content-Type: application/json'${key} \\\n  --data-binary @- <<'JSON'\n${json}\nJSON\n`;
}

function asPython(path, body) {
  const key = hasKey() ? "\nheaders[\"Authorization\"] = f\"Bearer {os.environ['IMAGEREF_KEY']}\"" : "";
  return `import json
${hasKey() ? "import os\n" : ""}import urllib.request

body = ${literal(body)}
headers = {"Content-Type": "application/json"}${key}
request = urllib.request.Request("${address(path)}", json.dumps(body).encode(), headers)
with urllib.request.urlopen(request) as response:
    answer = json.load(response)
print(json.dumps(answer, indent=2, ensure_ascii=False))
`;
}

/** A value of JSON as Python writes it. */
function literal(value, indent = "") {
  const inner = `${indent}    `;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const entries = Array.isArray(value)
    ? value.map((item) => literal(item, inner))
    : Object.entries(value).filter(([, item]) => item !== undefined).map(([key, item]) => `${JSON.stringify(key)}: ${literal(item, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return entries.length ? `${open}\n${entries.map((entry) => `${inner}${entry},\n`).join("")}${indent}${close}` : open + close;
}

/** Makes the buttons of a form show its request. `body` gives it, or undefined where the form is not filled in. */
export function offerCode(form, path, body) {
  for (const button of form.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => {
      const request = body();
      if (request) show(button.dataset.copy, WRITERS[button.dataset.copy](path, request));
    });
  }
}

function show(kind, code) {
  byId("code-title").textContent = `This request as ${kind}`;
  const lines = counted(code.split("\n").length - 1, "line");
  byId("code-note").textContent = `${lines}, ${Math.ceil(code.length / 1000).toLocaleString("en")} kB: its pictures are in it.`;
  byId("code").value = code;
  byId("code-status").textContent = "";
  byId("code-dialog").showModal();
}

byId("code-copy").addEventListener("click", async () => {
  byId("code").select();
  try {
    await navigator.clipboard.writeText(byId("code").value);
    byId("code-status").textContent = "Copied.";
  } catch {
    byId("code-status").textContent = "This browser lets no page copy here; the text is selected, press Ctrl-C.";
  }
});

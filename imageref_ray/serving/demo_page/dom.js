// Elements from plain values. Text is always a text node: nothing here, or on the page, makes markup of a string.

/** An element; `properties` are set as properties, those with a `-` and `role` as attributes, `on…` as listeners. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") made.setAttribute(key, value);
    else if (key === "class") made.className = value;
    else made[key] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

/** A link where the address is a page's, else its text. */
export function link(address, text = address) {
  return /^https?:\/\//i.test(address)
    ? element("a", { href: address, rel: "noreferrer noopener", target: "_blank", dir: "auto" }, text)
    : element("span", { dir: "auto" }, text);
}

/** Texts to pick from, each of which fills the field. */
export function chips(texts, field) {
  const fill = (text) => () => { field.value = text; };
  return texts.map((text) => element("button", { type: "button", class: "chip", onclick: fill(text) }, text));
}

/** "3 pictures", "1 picture". */
export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** A file's content as a data URL. */
export function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
}

/** Brings an element into view, at its `start` or as near as it is, without motion where none is wanted. */
export function bringIntoView(target, block = "nearest") {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  target.scrollIntoView({ block, behavior: still ? "auto" : "smooth" });
}

/** The number in a field; undefined where it is empty. */
export function numberIn(input) {
  return input.value === "" ? undefined : Number(input.value);
}

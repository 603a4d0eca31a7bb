/** Builds elements. Untrusted text becomes text nodes and attribute values, never HTML. */

/** @typedef {Node | string | number | false | null | undefined} Child */
/** @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Attributes */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Return an element: `h("p.note", {}, "text")`.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T | `${T}.${string}`} name the tag, and after dots its classes
 * @param {Attributes} [attributes] a function becomes the listener for the event of that name
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(name, attributes = {}, ...children) {
  const [tag = "div", ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  return /** @type {any} */ (filled(element, attributes, children));
}

/**
 * Return an element of SVG.
 * @param {string} tag
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 */
export function s(tag, attributes = {}, ...children) {
  return /** @type {SVGElement} */ (filled(document.createElementNS(SVG, tag), attributes, children));
}

/**
 * @param {Element} element
 * @param {Attributes} attributes
 * @param {Array<Child | Child[]>} children
 */
function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, String(value));
  }
  element.append(...children.flat().filter(isShown));
  return element;
}

/**
 * @param {Child} child
 * @returns {child is Node | string}
 */
function isShown(child) {
  return child !== false && child !== null && child !== undefined;
}

/** Icons: paths on a 24 × 24 grid, drawn with a stroke. */
const ICONS = {
  check: "M5 12.5l4.5 4.5L19 7.5",
  minus: "M6 12h12",
  alert: "M12 8v5m0 3.5v.01M12 3l9.5 17h-19z",
  cross: "M7 7l10 10M17 7L7 17",
  drop: "M12 15V4m0 0L8 8m4-4l4 4M4 15v3a2 2 0 002 2h12a2 2 0 002-2v-3",
  shield: "M12 3l7.5 3v5.5c0 4.5-3 8-7.5 9.5-4.5-1.5-7.5-5-7.5-9.5V6z",
  chip: "M7 7h10v10H7zM10 4v3m4-3v3m-4 10v3m4-3v3M4 10h3m-3 4h3m10-4h3m-3 4h3",
  repeat: "M4 12a8 8 0 0114-5.3L20 9m0-5v5h-5M20 12a8 8 0 01-14 5.3L4 15m0 5v-5h5",
  dataset:
    "M4 6c0-1.7 3.6-3 8-3s8 1.300 8 3-3.600 3-8 3-8-1.300-8-3zm0 0v12c0 1.700 3.600 3 8 3s8-1.300 8-3V6M4 12c0 1.700 3.600 3 8 3s8-1.300 8-3",
  model: "M12 3l8 4.500v9L12 21l-8-4.500v-9zM12 12l8-4.500M12 12v9M12 12L4 7.500",
  download: "M12 4v11m0 0l-4-4m4 4l4-4M5 20h14",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  settings: "M4 7h10m4 0h2M4 17h2m4 0h10M14 4.500v5M8 14.500v5",
  search: "M11 4a7 7 0 100 14 7 7 0 000-14zm5 12l4.500 4.500",
  wallet: "M4 7h14a2 2 0 012 2v9a2 2 0 01-2 2H6a2 2 0 01-2-2zm0 0l11-3v3m2 6.500v.01",
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const attributes = { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" };
  return s("svg", attributes, s("path", { d: ICONS[name] }));
}

/**
 * Return a long text, such as an address, with a button that copies it.
 * @param {string} text
 * @param {string} what the text is, for the button's label
 */
export function copyable(text, what) {
  const status = h("span.visually-hidden", { role: "status" });
  const copy = async () => {
    const copied = await navigator.clipboard?.writeText(text).then(
      () => true,
      () => false,
    );
    status.textContent = copied
      ? "Copied"
      : "This browser does not allow the page to copy. Select the text and copy it";
  };
  const button = h(
    "button.quiet",
    { type: "button", title: `Copy ${what}`, "aria-label": `Copy ${what}`, click: copy },
    icon("copy"),
  );
  return h("span.copyable", {}, h("code", {}, text), button, status);
}

/**
 * Return a link to another site; if the URL is not http or https, only its text.
 * @param {string} url
 * @param {string} [text]
 */
export function outward(url, text = url) {
  if (!/^https?:\/\//i.test(url)) return document.createTextNode(text);
  return h("a", { href: url, rel: "noreferrer noopener", target: "_blank" }, text);
}

/**
 * Save a text as a file.
 * @param {string} name
 * @param {string} text
 */
export function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

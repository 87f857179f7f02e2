// Small helpers to build elements. Text always becomes text nodes, never HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element: el("a", { href: "#" }, "text", child); "onclick" and the like add listeners. */
export const el = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** An SVG element, as el. */
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Give a node these children. Those it has already stay, under a pointer or with the focus. */
export function arrange(parent, nodes) {
  const { activeElement: focused } = document;
  for (const node of [...parent.childNodes]) if (!nodes.includes(node)) node.remove();
  let next = parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
  if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
}

/** Give a select these options, [[value, text], ...], unless it has them: it may be open. */
export function fillSelect(select, options) {
  const { value } = select;
  const now = [...select.options].map((option) => [option.value, option.text]);
  if (`${now}` === `${options}`) return;
  select.replaceChildren(...options.map(([key, text]) => new Option(text, key)));
  select.value = value;
}

/** A path of polygons ({exterior, holes}) for fill-rule evenodd. */
export function pathData(polygons, digits = 2) {
  const point = ([x, y]) => `${+x.toFixed(digits)} ${+y.toFixed(digits)}`;
  const ring = (points) => `M${points.map(point).join("L")}Z`;
  return polygons.flatMap(({ exterior, holes }) => [exterior, ...holes].map(ring)).join("");
}

/** Say something to screen readers. What still waits in announceSettled is out of date by then. */
export function announce(text) {
  clearTimeout(announceSettled.timer);
  const place = byId("live");
  place.textContent = "";
  setTimeout(() => (place.textContent = text), 50);
}

/** Say something once it has stopped changing, unless something else is said before. */
export function announceSettled(text) {
  clearTimeout(announceSettled.timer);
  announceSettled.timer = setTimeout(() => announce(text), 600);
}

/**
 * A short message at the bottom of the window, also read out.
 * @param action {label, run, onEnd}: a button, and what follows when nobody pressed it
 */
export function toast(text, action = null, milliseconds = 4000) {
  const place = byId("toast");
  const before = toast.onEnd;
  toast.onEnd = action?.onEnd;
  before?.();
  const button = action && el("button", { onclick: action.run }, action.label);
  place.replaceChildren(el("span", { "aria-hidden": "true" }, text), ...(button ? [button] : []));
  place.classList.add("on");
  clearTimeout(toast.timer);
  const end = () => {
    if (button && document.activeElement === button) return (toast.timer = setTimeout(end, 2000));
    toastEnd();
    return action?.onEnd?.();
  };
  toast.timer = setTimeout(end, milliseconds);
  announce(text);
  button?.focus();
}

/** Take the message away. */
export function toastEnd() {
  clearTimeout(toast.timer);
  toast.onEnd = null;
  byId("toast").classList.remove("on");
}

/** Save a Blob as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export const sleep = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), {
      once: true,
    });
  });

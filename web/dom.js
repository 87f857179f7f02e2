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

/** A short message at the bottom of the window, also read out. */
export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.classList.add("on");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => place.classList.remove("on"), 4000);
  announce(text);
}

export const sleep = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), {
      once: true,
    });
  });

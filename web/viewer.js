// The picture with its parts: drawn as SVG from the polygons, sharp at every zoom.
//
// The view is (scale, x, y): a point p of the photo, in its pixels, is at scale * p + (x, y) of the
// stage, in CSS pixels. Zooming changes these three numbers; nothing is drawn anew.

import { arrange, pathData, svg } from "./dom.js";
import { anchor, apart, widthOf } from "./labels.js";

const MOST = 24; // zoom, as a multiple of the whole picture's size
const STEP = 1.25;
const SLOP = 5; // CSS pixels a finger may move in a tap

/** A group for the outline of a "part" or "damage", wider in its halo. */
function groupFor(kind, name) {
  const paths = ["halo", "shape"].map((look) => svg("path", { class: look }));
  return svg("g", { [`data-${kind}`]: name }, ...paths);
}

function fillGroup(group, { polygons, colour, stroke = colour }) {
  group.setAttribute("fill", colour);
  group.setAttribute("stroke", stroke);
  for (const path of group.children) path.setAttribute("d", pathData(polygons));
}

export class Viewer {
  /**
   * @param nodes {stage, photo, overlay, line}
   * @param events {onHover(name or null), onPick(name or null), onZoom(factor), onWipe(percent)}
   */
  constructor(nodes, events) {
    Object.assign(this, nodes);
    this.events = events;
    this.size = { width: 1, height: 1 };
    this.view = { scale: 1, x: 0, y: 0 };
    this.parts = new Map(); // name -> <g>; it stays while its outline changes
    this.damages = svg("g", { class: "damages" });
    this.layer = svg("g", {}, this.damages);
    this.labels = svg("g", { class: "labels", "aria-hidden": "true" });
    this.names = [];
    this.fingers = new Map(); // pointer id -> its last event
    new ResizeObserver(() => this.#resized()).observe(this.stage);
    this.#listen();
  }

  /** Show a picture of width x height pixels; `url` of the photo, or null for a plain ground. */
  show({ width, height }, url) {
    this.size = { width, height };
    this.stage.style.setProperty("--ratio", width / height);
    this.photo.hidden = !url;
    if (url) this.photo.src = url;
    else this.photo.removeAttribute("src");
    this.photo.style.width = `${width}px`;
    this.photo.style.height = `${height}px`;
    this.stage.classList.toggle("plain", !url);
    this.fit();
  }

  /**
   * Draw parts: [{name, polygons, colour, label}], the largest first.
   * @param damages {patterns, shapes}: shapes as parts, each with a stroke, drawn over all parts
   */
  draw(parts, damages = { patterns: [], shapes: [] }) {
    this.patterns = damages.patterns;
    this.names = [...parts, ...damages.shapes].map(({ name, polygons, label }) => {
      return { name, label, text: svg("text", {}, label), at: anchor(polygons) };
    });
    this.light(null);
    const before = new Map(this.parts);
    this.parts.clear();
    const groupOf = (kind) => (shape) => {
      const group = before.get(shape.name) ?? groupFor(kind, shape.name);
      fillGroup(group, shape);
      this.parts.set(shape.name, group);
      return group;
    };
    arrange(this.layer, [...parts.map(groupOf("part")), this.damages]);
    arrange(this.damages, damages.shapes.map(groupOf("damage")));
    this.labels.replaceChildren(...this.names.map(({ text }) => text));
    arrange(this.overlay, [...this.patterns, this.layer, this.labels]);
    this.#place();
  }

  /** Light up one part, or none. */
  light(name) {
    if (name === this.lit) return;
    this.lit = name;
    this.overlay.classList.toggle("lit", this.parts.has(name));
    for (const [other, group] of this.parts) {
      group.classList.toggle("on", other === name);
      if (other === name) this.#raise(group);
    }
  }

  /** Draw a part after its neighbours, a damage after the others. */
  #raise(group) {
    if (group.parentNode === this.damages) this.damages.append(group);
    else this.damages.before(group);
  }

  /** Hide the parts of a set of names. */
  hide(names) {
    for (const [name, group] of this.parts) group.classList.toggle("off", names.has(name));
    this.#placeNames();
  }

  /** Colours: filled or outlines only, and their opacity 0..1; the names of parts, or none. */
  look({ filled, opacity, nameOf }) {
    this.named = Boolean(nameOf);
    this.#placeNames();
    this.overlay.classList.toggle("outline", !filled);
    this.overlay.style.setProperty("--strength", opacity);
  }

  /** Show the parts up to `percent` of the stage's width, null for all of it. */
  wipe(percent) {
    this.line.hidden = percent === null;
    this.overlay.style.clipPath = percent === null ? "" : `inset(0 ${100 - percent}% 0 0)`;
    if (percent !== null) this.line.style.left = `${percent}%`;
  }

  /** Show the whole picture. */
  fit() {
    this.view = { scale: this.#least(), x: 0, y: 0 };
    this.#place();
  }

  /** Zoom by a factor around a point of the stage, by default its middle. */
  zoom(factor, point = this.#middle()) {
    const least = this.#least();
    const scale = Math.min(Math.max(this.view.scale * factor, least), least * MOST);
    const change = scale / this.view.scale;
    this.view = {
      scale,
      x: point.x - (point.x - this.view.x) * change,
      y: point.y - (point.y - this.view.y) * change,
    };
    this.#place();
    return scale / least;
  }

  /** Move the picture by CSS pixels. */
  move(x, y) {
    this.view.x += x;
    this.view.y += y;
    this.#place();
  }

  get zoomed() {
    return this.view.scale > this.#least() * 1.001;
  }

  #least() {
    const { clientWidth, clientHeight } = this.stage;
    return Math.min(clientWidth / this.size.width, clientHeight / this.size.height) || 1;
  }

  #middle() {
    return { x: this.stage.clientWidth / 2, y: this.stage.clientHeight / 2 };
  }

  #resized() {
    const { width } = this;
    this.width = this.stage.clientWidth;
    if (!width || !this.zoomed) return this.fit();
    this.view.scale *= this.width / width;
    this.view.x *= this.width / width;
    this.view.y *= this.width / width;
    this.#place();
  }

  #place() {
    const { view, size, stage } = this;
    // The picture fills the stage; where it is smaller it stays in the middle.
    const held = (offset, length, room) =>
      length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, offset));
    view.x = held(view.x, size.width * view.scale, stage.clientWidth);
    view.y = held(view.y, size.height * view.scale, stage.clientHeight);
    this.photo.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    this.layer.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
    for (const pattern of this.patterns ?? []) {
      pattern.setAttribute("patternTransform", `rotate(45) scale(${1 / (view.scale || 1)})`);
    }
    stage.classList.toggle("zoomed", this.zoomed);
    this.#placeNames();
  }

  #placeNames() {
    this.labels.classList.toggle("off", !this.named);
    if (!this.named) return;
    const { scale, x, y } = this.view;
    const { fontSize, fontFamily } = getComputedStyle(this.overlay);
    const height = Number.parseFloat(fontSize);
    const hidden = ({ name }) => this.parts.get(name).classList.contains("off");
    const shown = this.names.filter((name) => !hidden(name));
    for (const { text } of this.names) text.classList.add("off");
    const wanted = shown.map(({ label, at }) => {
      const width = widthOf(label, `600 ${height}px ${fontFamily}`);
      return { x: at[0] * scale + x, y: at[1] * scale + y, width, height };
    });
    const room = { width: this.stage.clientWidth, height: this.stage.clientHeight };
    for (const [at, place] of apart(wanted, room).entries()) {
      const { text } = shown[at];
      text.classList.toggle("off", !place);
      if (place) (text.setAttribute("x", place.x), text.setAttribute("y", place.y));
    }
  }

  #listen() {
    const { stage, overlay, line } = this;
    const part = (event) => {
      const { part: name, damage = null } = event.target.closest?.("#overlay g g")?.dataset ?? {};
      return name ?? damage;
    };
    overlay.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch") this.events.onHover(part(event));
    });
    overlay.addEventListener("pointerleave", () => this.events.onHover(null));
    stage.addEventListener("click", (event) => {
      if (!this.moved && event.target !== line) this.events.onPick(part(event));
    });
    stage.addEventListener("dblclick", (event) => {
      this.events.onZoom(this.zoom(2, this.#at(event)));
    });
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      stage.addEventListener(name, (event) => this.fingers.delete(event.pointerId));
    }
    // One finger scrolls the page while the whole picture is shown; two always zoom.
    const hold = (event) => event.touches.length > 1 && event.preventDefault();
    stage.addEventListener("touchstart", hold, { passive: false });
    stage.addEventListener("touchmove", hold, { passive: false });
  }

  #at(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #wheel(event) {
    if (event.deltaY > 0 && !this.zoomed && !event.ctrlKey) return; // let the page scroll
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0018; // browsers report a pinch on a touchpad as ctrl
    this.events.onZoom(this.zoom(Math.exp(-event.deltaY * lines * speed), this.#at(event)));
  }

  #key(event) {
    if (event.target !== this.stage || event.ctrlKey || event.metaKey || event.altKey) return;
    const move = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.key === "+" || event.key === "=") this.events.onZoom(this.zoom(STEP));
    else if (event.key === "-") this.events.onZoom(this.zoom(1 / STEP));
    else if (event.key === "0") this.events.onZoom((this.fit(), 1));
    else if (move[event.key] && this.zoomed) this.move(...move[event.key]);
    else return;
    event.preventDefault();
  }

  #down(event) {
    if (event.button > 0) return;
    if (!this.fingers.size) this.moved = false;
    this.fingers.set(event.pointerId, event);
    this.start = { x: event.clientX, y: event.clientY };
    this.wiping = event.target === this.line;
  }

  #drag(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const far = Math.hypot(event.clientX - this.start.x, event.clientY - this.start.y) > SLOP;
    if (!this.moved && !far && this.fingers.size === 1) return;
    if (!this.moved) this.stage.setPointerCapture(event.pointerId);
    this.moved = true;
    const other = [...this.fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    this.fingers.set(event.pointerId, event);
    if (this.wiping) {
      const share = (this.#at(event).x / this.stage.clientWidth) * 100;
      this.events.onWipe(Math.min(100, Math.max(0, share)));
    } else if (other) {
      this.#pinch(before, event, other);
    } else if (this.zoomed) {
      this.move(event.clientX - before.clientX, event.clientY - before.clientY);
    }
  }

  #pinch(before, now, other) {
    const span = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;
    const from = this.#at(before);
    const to = this.#at(now);
    const still = this.#at(other);
    const factor = span(now, other) / span(before, other);
    const middle = { x: (to.x + still.x) / 2, y: (to.y + still.y) / 2 };
    this.move((to.x - from.x) / 2, (to.y - from.y) / 2);
    this.events.onZoom(this.zoom(factor, middle));
  }
}

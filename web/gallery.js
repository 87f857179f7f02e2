// The results that the service has, newest first: found by name and type, chosen, deleted.

import { byId, el, pathData, svg } from "./dom.js";
import { library } from "./library.js";
import { isPressed, press } from "./look.js";
import { photoOf } from "./photos.js";
import { json, markedHashes, service } from "./service.js";
import { damageWords, inBrief, isKnown, summaryOfListed, titleOf } from "./summary.js";
import { t, typeName, when } from "./texts.js";

const PAGE = 20; // fills the rows of two and of five columns
const LISTED = 1000; // results of which the service says name, type and time at once

export class Gallery {
  /** @param parts {config, summaries, removal} */
  constructor({ config, summaries, removal }) {
    Object.assign(this, { config, summaries, removal });
    this.shown = PAGE;
    this.hashes = [];
    this.cards = new Map(); // hash -> {node, result}
    this.chosen = new Set();
    this.learned = Promise.resolve(); // one question after the other
    this.marked = null; // hashes of the results with marks while only these are wanted
    this.#listen();
    library.onNote = (hash) => this.cards.has(hash) && this.#fill(hash);
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.seen.unobserve(target);
        this.#load(target.dataset.hash);
      }
    });
  }

  /** Ask the service what there is. */
  async refresh() {
    try {
      this.hashes = (await service.ready()).reverse();
      this.failed = false;
      this.marked = isPressed("marked") ? await markedHashes() : null;
      await library.prune(this.hashes);
      await this.#learn(LISTED);
    } catch {
      this.failed = true;
    }
    this.#draw();
  }

  /** Ask for name, type and time of the newest results, where they are not known yet. */
  #learn(most) {
    this.learned = this.learned.then(async () => {
      const hashes = this.hashes.slice();
      let last = hashes.slice(0, most).findLastIndex((hash) => !library.isComplete(hash));
      while (last >= 0) {
        const limit = Math.min(last + 1, LISTED);
        const before = hashes[last + 1]; // the service lists the oldest first
        const page = await json(`./?details=true&limit=${limit}${before ? `&after=${before}` : ""}`);
        for (const photo of page.photos) library.learn(photo.image_hash, summaryOfListed(photo));
        last -= limit;
      }
    });
    this.learned = this.learned.catch(() => null); // cards then ask one by one
    return this.learned;
  }

  /** Write all texts anew, in another language. */
  redraw() {
    for (const hash of this.cards.keys()) this.#fill(hash);
    this.#draw();
  }

  /** Draw what changed in the library, and leave out what was deleted. */
  update(gone = []) {
    for (const hash of gone) this.cards.delete(hash);
    this.hashes = this.hashes.filter((hash) => !gone.includes(hash));
    this.redraw();
  }

  /** Hashes of all results that pass the search and the filter, in their order. */
  get matching() {
    const name = byId("search").value.trim().toLowerCase();
    const type = byId("type-filter").value;
    return this.hashes.filter((hash) => {
      const entry = library.get(hash);
      const kind = entry.none ? "none" : entry.type;
      if (this.marked && !this.marked.has(hash)) return false;
      if (this.removal.hidden.has(hash) || (type && kind !== type)) return false;
      const words = `${entry.name ?? ""} ${isKnown(entry) ? titleOf(entry) : ""}`;
      return !name || words.toLowerCase().includes(name);
    });
  }

  /** Hashes of the results that are selected, in their order. */
  get chosenInOrder() {
    return this.hashes.filter((hash) => this.chosen.has(hash));
  }

  #listen() {
    byId("more").addEventListener("click", () => {
      const first = this.matching[this.shown];
      this.shown += PAGE;
      this.#draw();
      this.cards.get(first)?.node.querySelector("a").focus();
    });
    byId("search").addEventListener("input", () => this.#filter());
    byId("type-filter").addEventListener("change", () => this.#filter());
    byId("marked").addEventListener("click", () => {
      press("marked");
      this.shown = PAGE;
      this.refresh();
    });
    byId("choose-all").addEventListener("click", () => this.#choose(this.matching));
    byId("choose-none").addEventListener("click", () => this.#choose([]));
    byId("delete-chosen").addEventListener("click", () => {
      const hashes = [...this.chosen];
      this.chosen.clear();
      this.removal.add(hashes);
    });
  }

  #filter() {
    this.shown = PAGE;
    this.#draw();
    this.#learn(this.hashes.length).then(() => this.#draw());
  }

  #choose(hashes) {
    this.chosen = new Set(hashes);
    for (const [hash, { node }] of this.cards) {
      node.querySelector("input").checked = this.chosen.has(hash);
    }
    this.#selection();
    byId(hashes.length ? "delete-chosen" : "search").focus();
  }

  #selection() {
    byId("selection").hidden = !this.chosen.size;
    byId("chosen-count").textContent = t("gallery.chosen", { n: this.chosen.size });
  }

  #draw() {
    const hashes = this.matching;
    const all = this.hashes.filter((hash) => !this.removal.hidden.has(hash));
    for (const hash of this.chosen) if (!all.includes(hash)) this.chosen.delete(hash);
    const note = byId("gallery-note");
    const none = all.length ? t("gallery.noMatch") : t("home.empty");
    note.textContent = this.failed ? t("home.galleryFailed") : none;
    note.hidden = hashes.length > 0 && !this.failed;
    byId("gallery-tools").hidden = !all.length;
    byId("more").hidden = hashes.length <= this.shown;
    this.#types();
    this.#selection();
    const nodes = hashes.slice(0, this.shown).map((hash) => this.#card(hash));
    const list = byId("gallery-list");
    if (nodes.length === list.children.length && nodes.every((node, at) => node === list.children[at])) return;
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    list.replaceChildren(...nodes);
    if (focused?.isConnected) focused.focus();
  }

  #types() {
    const select = byId("type-filter");
    const entries = this.hashes.map((hash) => library.get(hash)).filter(isKnown);
    const types = [...new Set(entries.filter(({ type }) => type).map(({ type }) => type))];
    const options = types.map((type) => [type, typeName(type)]);
    options.sort((a, b) => a[1].localeCompare(b[1]));
    if (entries.some(({ none }) => none)) options.push(["none", t("result.noCar")]);
    const { value } = select;
    if (value && !options.some(([type]) => type === value)) options.push([value, typeName(value)]);
    const nodes = [["", t("gallery.allTypes")], ...options].map(([key, name]) => new Option(name, key));
    select.replaceChildren(...nodes);
    select.value = value;
  }

  #card(hash) {
    if (!this.cards.has(hash)) {
      const node = el("li", { "data-hash": hash });
      this.cards.set(hash, { node, result: null });
      this.seen.observe(node);
    }
    this.#fill(hash);
    return this.cards.get(hash).node;
  }

  async #load(hash) {
    if (isKnown(library.get(hash)) && library.thumbOf(hash)) return;
    const result = await this.summaries.fetch(hash);
    if (!result) return void this.cards.delete(hash); // asked again with the next refresh
    if (this.cards.has(hash)) this.cards.get(hash).result = result;
    this.#draw();
  }

  #fill(hash) {
    const { node, result } = this.cards.get(hash);
    const entry = library.get(hash);
    if (!node.firstChild) node.append(el("a", { class: "card", href: `#${hash}` }), this.#pick(hash));
    const known = isKnown(entry);
    const found = entry.none || !known ? "" : t(entry.count ? "result.found" : "result.noParts", { n: entry.count });
    const damage = entry.damage === undefined ? "" : damageWords(entry.damage);
    const note = [found, damage, entry.time ? when(entry.time) : ""].filter(Boolean);
    const content = JSON.stringify([known, entry.name, note, document.documentElement.lang, Boolean(result), library.thumbOf(hash)]);
    node.querySelector("input").checked = this.chosen.has(hash);
    if (node.dataset.content === content) return;
    node.dataset.content = content;
    node.querySelector("a").replaceChildren(
      el("span", { class: "card-picture" }, this.#picture(hash, result)),
      el("strong", {}, known ? titleOf(entry) : t("result.unknownType")),
      ...(entry.name ? [el("span", { class: "card-name" }, entry.name)] : []),
      el("span", { class: "card-note" }, ...note.map((text) => el("span", {}, text))),
    );
    const name = [entry.name, known ? inBrief(entry) : ""].filter(Boolean).join(", ") || hash.slice(0, 8);
    node.querySelector("input").setAttribute("aria-label", t("gallery.choose", { name }));
  }

  #pick(hash) {
    const box = el("input", { type: "checkbox" });
    box.addEventListener("change", () => {
      if (box.checked) this.chosen.add(hash);
      else this.chosen.delete(hash);
      this.#selection();
    });
    return el("label", { class: "pick" }, box);
  }

  #picture(hash, result) {
    const thumb = library.thumbOf(hash);
    if (thumb) return el("img", { src: thumb, alt: "", draggable: "false" });
    return result && this.#drawing(hash, result);
  }

  #drawing(hash, { width, height, parts }) {
    const box = { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" };
    const url = photoOf(hash);
    const picture = svg("svg", box);
    if (url) {
      picture.append(svg("image", { href: url, width, height }));
      picture.setAttribute("preserveAspectRatio", "xMidYMid slice");
    }
    for (const { name, polygons } of parts) {
      const colour = this.config.colours[name];
      const fill = { fill: colour, "fill-opacity": url ? 0.5 : 0.85, "fill-rule": "evenodd" };
      picture.append(svg("path", { d: pathData(polygons, 0), ...fill }));
    }
    return picture;
  }
}

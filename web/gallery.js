// The results that the service has, newest first: found by name and type, chosen, deleted.

import { arrange, byId, el, fillSelect, pathData, svg } from "./dom.js";
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
    this.cards = new Map(); // hash -> {node, result, ...}; a node lasts as long as its result
    this.failures = new Set(); // hashes whose results could not be fetched
    this.asked = this.answered = 0; // lists of results, by number
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
    const number = (this.asked += 1);
    const known = library.summarized;
    try {
      const hashes = (await service.ready()).reverse();
      const marked = isPressed("marked") ? await markedHashes() : null;
      if (number < this.answered) return; // a later list came first
      Object.assign(this, { hashes, marked, answered: number, failed: false });
      await library.prune(known, hashes);
      await this.#learn(LISTED);
    } catch {
      this.failed = true;
    }
    for (const hash of this.failures) if (this.cards.has(hash)) this.seen.observe(this.cards.get(hash).node);
    this.failures.clear();
    this.#draw();
  }

  /** Ask for name, type and time of the newest results, where they are not known yet. */
  #learn(most) {
    this.learned = this.learned.then(async () => {
      const hashes = this.hashes.slice();
      const { known } = library;
      let last = hashes.slice(0, most).findLastIndex((hash) => !library.isComplete(hash));
      while (last >= 0) {
        const limit = Math.min(last + 1, LISTED);
        const before = hashes[last + 1]; // the service lists the oldest first
        const page = await json(`./?details=true&limit=${limit}${before ? `&after=${before}` : ""}`);
        if (library.known !== known) return; // all was deleted meanwhile
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
    if (!gone.length || this.asked === this.answered) return;
    this.answered = this.asked + 1; // a list on its way may have what was deleted
    this.refresh();
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
    for (const [hash, { box }] of this.cards) box.checked = this.chosen.has(hash);
    this.#selection();
    byId(hashes.length ? "delete-chosen" : "search").focus();
  }

  #selection() {
    byId("selection").hidden = !this.chosen.size;
    byId("chosen-count").textContent = t("gallery.chosen", { n: this.chosen.size });
  }

  #draw() {
    const hashes = this.matching;
    const focused = document.activeElement?.closest("#gallery-list li")?.dataset.hash;
    this.shown = Math.max(this.shown, hashes.indexOf(focused) + 1); // newer ones push none out that has the focus
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
    arrange(byId("gallery-list"), hashes.slice(0, this.shown).map((hash) => this.#card(hash)));
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
    fillSelect(select, [["", t("gallery.allTypes")], ...options]);
  }

  #card(hash) {
    if (!this.cards.has(hash)) {
      this.cards.set(hash, this.#make(hash));
      this.seen.observe(this.cards.get(hash).node);
    }
    this.#fill(hash);
    return this.cards.get(hash).node;
  }

  async #load(hash) {
    if (isKnown(library.get(hash)) && library.thumbOf(hash)) return;
    const result = await this.summaries.fetch(hash);
    if (!result) return void this.failures.add(hash); // asked again with the next refresh
    if (this.cards.has(hash)) this.cards.get(hash).result = result;
    this.#draw();
  }

  #make(hash) {
    const picture = el("span", { class: "card-picture" });
    const title = el("strong");
    const name = el("span", { class: "card-name" });
    const note = el("span", { class: "card-note" });
    const box = this.#box(hash);
    const link = el("a", { class: "card", href: `#${hash}` }, picture, title, name, note);
    const node = el("li", { "data-hash": hash }, link, el("label", { class: "pick" }, box));
    return { node, picture, title, name, note, box, result: null };
  }

  #fill(hash) {
    const card = this.cards.get(hash);
    const { result } = card;
    const entry = library.get(hash);
    const known = isKnown(entry);
    const found = entry.none || !known ? "" : t(entry.count ? "result.found" : "result.noParts", { n: entry.count });
    const damage = entry.damage === undefined ? "" : damageWords(entry.damage);
    const note = [found, damage, entry.time ? when(entry.time) : ""].filter(Boolean);
    card.box.checked = this.chosen.has(hash);
    const drawn = library.thumbOf(hash) ?? Boolean(result);
    if (card.drawn !== drawn) arrange(card.picture, [this.#picture(hash, result)].filter(Boolean));
    card.drawn = drawn;
    const content = JSON.stringify([entry, note, document.documentElement.lang]);
    if (card.content === content) return;
    card.content = content;
    card.title.textContent = known ? titleOf(entry) : t("result.unknownType");
    card.name.textContent = entry.name ?? "";
    card.name.hidden = !entry.name;
    card.note.replaceChildren(...note.map((text) => el("span", {}, text)));
    const name = [entry.name, known ? inBrief(entry) : ""].filter(Boolean).join(", ") || hash.slice(0, 8);
    card.box.setAttribute("aria-label", t("gallery.choose", { name }));
  }

  #box(hash) {
    const box = el("input", { type: "checkbox" });
    box.addEventListener("change", () => {
      if (box.checked) this.chosen.add(hash);
      else this.chosen.delete(hash);
      this.#selection();
    });
    return box;
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

// The results that the service has, newest first, each drawn small.

import { byId, el, pathData, svg } from "./dom.js";
import { photoOf } from "./photos.js";
import { service } from "./service.js";
import { t, typeName } from "./texts.js";

const PAGE = 12;
const AT_ONCE = 2; // small drawings fetched at the same time
const COARSE = 4; // pixels; a thumbnail needs no more

export class Gallery {
  constructor(config) {
    this.config = config;
    this.shown = PAGE;
    this.hashes = [];
    this.cards = new Map(); // hash -> {node, result}
    this.waiting = [];
    this.loading = 0;
    byId("more").addEventListener("click", () => {
      const first = this.hashes[this.shown];
      this.shown += PAGE;
      this.#draw();
      this.cards.get(first)?.node.querySelector("a").focus();
    });
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.seen.unobserve(target);
        this.waiting.push(target.dataset.hash);
      }
      this.#load();
    });
  }

  /** Ask the service what there is. */
  async refresh() {
    try {
      this.hashes = (await service.ready()).reverse();
      this.failed = false;
    } catch {
      this.failed = true;
    }
    this.#draw();
  }

  /** Write all texts anew, in another language. */
  redraw() {
    for (const hash of this.cards.keys()) this.#fill(hash);
    this.#draw();
  }

  #draw() {
    const note = byId("gallery-note");
    note.textContent = this.failed ? t("home.galleryFailed") : t("home.empty");
    note.hidden = this.hashes.length > 0 && !this.failed;
    byId("more").hidden = this.hashes.length <= this.shown;
    const nodes = this.hashes.slice(0, this.shown).map((hash) => this.#card(hash));
    byId("gallery-list").replaceChildren(...nodes);
  }

  #card(hash) {
    if (!this.cards.has(hash)) {
      const node = el("li", { "data-hash": hash });
      this.cards.set(hash, { node, result: null });
      this.#fill(hash);
      this.seen.observe(node);
    }
    return this.cards.get(hash).node;
  }

  async #load() {
    while (this.loading < AT_ONCE && this.waiting.length) {
      const hash = this.waiting.shift();
      this.loading += 1;
      service
        .result(hash, { tolerance: COARSE })
        .then((result) => {
          this.cards.get(hash).result = result;
          this.#fill(hash);
        })
        .catch(() => this.cards.delete(hash)) // asked again with the next refresh
        .finally(() => {
          this.loading -= 1;
          this.#load();
        });
    }
  }

  #fill(hash) {
    const { node, result } = this.cards.get(hash);
    const link = node.querySelector("a") ?? el("a", { class: "card", href: `#${hash}` });
    const count = result?.parts.length ?? 0;
    const none = result?.message === this.config.no_car;
    const found = t(count ? "result.found" : "result.noParts", { n: count });
    const title = none ? t("result.noCar") : typeName(result?.type?.name ?? "");
    link.replaceChildren(
      el("span", { class: "card-picture" }, result ? this.#picture(hash, result) : null),
      el("strong", {}, title || t("result.unknownType")),
      el("span", { class: "card-note" }, result && !none ? found : ""),
    );
    if (!link.isConnected || link.parentNode !== node) node.replaceChildren(link);
  }

  #picture(hash, { width, height, parts }) {
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

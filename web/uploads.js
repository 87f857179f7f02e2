// The photos that were added: prepared, sent, followed, and tried again where that failed.

import { remember, remembered } from "./added.js";
import { announce, arrange, byId, el } from "./dom.js";
import { follow } from "./follow.js";
import { library } from "./library.js";
import { inWords, steps } from "./progress.js";
import { keepPhoto, photoOf } from "./photos.js";
import { need, patient, service, ServiceError } from "./service.js";
import { inBrief, isKnown } from "./summary.js";
import { byName, number, t } from "./texts.js";

const AT_ONCE = 2; // photos being sent at the same time

const ENDS = ["Ready", "Failed"];

export class Uploads {
  /** @param parts {config, summaries}; @param onDone called with (item, alone) when one is Ready */
  constructor({ config, summaries }, onDone) {
    Object.assign(this, { config, summaries });
    this.onDone = onDone;
    this.items = [];
    this.sending = 0;
  }

  /** Take up what was not done when the page was last closed. */
  async resume() {
    await Promise.all(
      remembered()
        .slice(0, 20)
        .map(async (hash) => {
          const standing = await service.status(hash).catch(() => null);
          if (standing && ["Uploaded", "Processing"].includes(standing.status)) {
            this.#watch(this.#add({ name: library.get(hash).name ?? t("upload.unnamed"), hash, state: standing.status }));
          }
        }),
    );
  }

  /** Add photos: Files, or anything with {name, blob()}. */
  add(sources) {
    const named = sources.map((source) => ({ source, name: source.name || t("upload.unnamed") }));
    named.sort((a, b) => byName(b.name, a.name)); // each goes on top of the list
    const items = named.map((item) => this.#add({ ...item, state: "Held" })).reverse();
    for (const item of items) item.alone = items.length === 1;
    this.#next();
  }

  /** Write all texts anew, in another language. */
  redraw() {
    this.items.forEach((item) => this.#draw(item));
  }

  /** Hashes of the results in this list, in its order. */
  get ready() {
    return this.items.filter(({ state }) => state === "Ready").map(({ hash }) => hash);
  }

  /** Take rows away whose results were deleted. */
  forget(hashes) {
    for (const item of this.items.filter(({ hash }) => hashes.includes(hash))) this.#drop(item);
  }

  #add(item) {
    item.view = this.#view(item);
    this.items.unshift(item);
    byId("upload-list").prepend(item.view.node);
    byId("uploads").hidden = false;
    this.#draw(item);
    return item;
  }

  #next() {
    const waiting = this.items.filter((item) => item.state === "Held");
    for (const item of waiting.slice(0, AT_ONCE - this.sending)) this.#send(item);
  }

  async #send(item) {
    this.sending += 1;
    try {
      this.#set(item, { state: "Preparing" });
      item.blob ??= await this.#prepare(item);
      item.hash = await this.#post(item);
      library.note(item.hash, { name: item.name, time: Date.now() });
      item.kept = keepPhoto(item.hash, item.blob).catch(() => null);
      remember(item.hash);
      this.#set(item, { state: "Uploaded", position: null, stage: null });
    } catch (error) {
      this.#fail(item, error);
    } finally {
      this.sending -= 1;
    }
    this.#next();
    if (item.state === "Uploaded") await this.#watch(item);
  }

  async #prepare(item) {
    const file = item.source instanceof Blob ? item.source : await item.source.blob();
    const module = await need("prepare");
    if (!module) throw new ServiceError("", 0);
    const { blob, from, to, converted } = await module.prepare(file, this.config);
    if (from) item.note = { key: "upload.smaller", from, to };
    else if (converted) item.note = { key: "upload.converted" };
    item.thumbnail = URL.createObjectURL(blob);
    return blob;
  }

  #post(item) {
    this.#set(item, { state: "Sending" });
    const onRetry = (pause, status) =>
      this.#set(item, { state: status ? "Busy" : "Lost", seconds: Math.ceil(pause / 1000) });
    const file_name = library.keeps && item.source instanceof File ? item.name : null;
    const { checked } = byId("want-damage");
    const damage = checked === (this.config.damage === "always") ? null : checked; // else its default
    return patient.submit(item.blob, { onRetry, file_name, damage });
  }

  async #watch(item) {
    const first = () => this.items.findLast((other) => other.hash && !this.#ended(other)) === item;
    try {
      const last = await follow(item.hash, {
        live: first,
        onStatus: ({ status, position = null, stage = null, message }) => {
          if (status !== "Ready" && status !== "Error") {
            this.#set(item, { state: status, position, stage, message });
          }
        },
      });
      if (last.status === "Error") throw new ServiceError(last.message, 404);
      await item.kept; // so that a reload finds its small picture
      this.#set(item, { state: "Ready", isUnexamined: Boolean(last.damage_error) });
      this.#summarize(item);
      announce(`${item.name}: ${t("upload.done")}`);
      this.onDone(item, item.alone && this.items.every((other) => this.#ended(other)));
    } catch (error) {
      this.#fail(item, error);
    }
  }

  async #summarize(item) {
    await this.summaries.fetch(item.hash);
    this.#draw(item);
  }

  #ended(item) {
    return ENDS.includes(item.state);
  }

  #fail(item, error) {
    const foreign = error.status > 0; // the service's own words, which are English
    const key = error.status === 0 ? "error.unreachable" : "upload.failed";
    this.#set(item, { state: "Failed", message: foreign ? error.message : null, key, foreign });
    announce(`${item.name}: ${item.message ?? t(key)}`);
  }

  #retry(item) {
    if (item.source) this.#set(item, { state: "Held" });
    if (item.source) this.#next();
    else this.#watch(item);
  }

  #remove(item) {
    const next = item.view.node.nextElementSibling ?? item.view.node.previousElementSibling;
    this.#drop(item);
    (next?.querySelector("a, button") ?? byId("choose")).focus();
  }

  #drop(item) {
    this.items.splice(this.items.indexOf(item), 1);
    item.view.node.remove();
    byId("uploads").hidden = !this.items.length;
    this.#batch();
  }

  /** How far all photos of the list are. */
  #batch() {
    const n = this.items.length;
    const done = this.items.filter((item) => this.#ended(item)).length;
    const failed = this.items.filter(({ state }) => state === "Failed").length;
    byId("batch-progress").hidden = n < 2;
    byId("batch-menu").hidden = n < 2 || done === failed;
    Object.assign(byId("batch-bar"), { max: n, value: done });
    byId("batch-bar").hidden = done === n;
    const words = [t("batch.progress", { done, n })];
    if (failed) words.push(t("batch.failed", { n: failed }));
    byId("batch-words").textContent = words.join(", ");
  }

  #set(item, change) {
    Object.assign(item, change);
    this.#draw(item);
  }

  /** The nodes of a row; `#draw` shows those that its state needs. */
  #view(item) {
    const open = el("a", { class: "button open" });
    const again = el("button", { class: "button again", onclick: () => this.#retry(item) });
    const remove = el("button", { class: "icon remove", onclick: () => this.#remove(item) }, "×");
    const text = el("div", { class: "upload-text" });
    const actions = el("div", { class: "upload-actions" });
    return {
      node: el("li", { class: "upload", tabindex: -1 }, text, actions),
      picture: el("span", { class: "upload-picture" }),
      text,
      name: el("strong", { class: "upload-name" }, item.name),
      state: el("span", { class: "upload-state" }),
      note: el("span", { class: "upload-note" }),
      bar: steps(),
      actions,
      buttons: { open, again, remove },
    };
  }

  #draw(item) {
    const { view } = item;
    const { node, text, name, state, note, bar, actions } = view;
    const hadFocus = node.contains(document.activeElement);
    const failed = item.state === "Failed";
    this.#batch();
    bar.update(item);
    node.classList.toggle("failed", failed);
    state.textContent = this.#words(item);
    if (failed && item.foreign) state.lang = "en";
    else state.removeAttribute("lang");
    const isUnexamined = item.isUnexamined && library.get(item.hash).damage === undefined;
    const notes = [item.note && this.#note(item.note), isUnexamined && t("damage.failed")];
    note.textContent = notes.filter(Boolean).join(" ");
    this.#picture(item);
    arrange(node, [view.picture, text, actions]);
    const isUnderWay = !this.#ended(item);
    arrange(text, [name, state, note.textContent && note, isUnderWay && bar.node].filter(Boolean));
    arrange(actions, this.#actions(item));
    if (hadFocus && !node.contains(document.activeElement)) {
      (node.querySelector("a, button") ?? node).focus();
    }
  }

  #words(item) {
    if (item.state === "Failed") return item.message ?? t(item.key);
    const entry = item.state === "Ready" ? library.get(item.hash) : {};
    return isKnown(entry) ? inBrief(entry) : inWords(item);
  }

  #picture({ view, thumbnail, hash }) {
    const src = thumbnail ?? (hash && photoOf(hash));
    if (!src || view.src === src) return;
    view.src = src;
    const image = el("img", { class: "upload-picture", src, alt: "" });
    image.onerror = () => {
      image.replaceWith((view.picture = el("span", { class: "upload-picture" })));
    };
    view.picture = image;
  }

  #note({ key, from, to }) {
    const megabytes = (bytes) => number(bytes / 1048576, 1);
    const fewer = from && to[2] < from[2]; // else only its pixels became fewer
    const size = ([w, h, bytes]) => `${w} × ${h}${fewer ? `, ${megabytes(bytes)} MB` : ""}`;
    return t(key, from ? { from: size(from), to: size(to) } : {});
  }

  #actions({ name, state, hash, view: { buttons } }) {
    const { open, again, remove } = buttons;
    open.textContent = t("upload.open");
    again.textContent = t("upload.retry");
    open.setAttribute("aria-label", t("upload.openLabel", { name }));
    remove.setAttribute("aria-label", t("upload.removeLabel", { name }));
    remove.title = t("upload.remove");
    if (state === "Failed") return [again, remove];
    open.href = `#${hash}`;
    return state === "Ready" ? [open, remove] : [];
  }
}

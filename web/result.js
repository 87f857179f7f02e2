// One result: the picture, its parts, how they look, and what can be taken away.

import { announce, announceSettled, byId, el, sleep, toast } from "./dom.js";
import { fillCopies, fillDownloads, fillEdits, pointTo } from "./exports.js";
import { follow } from "./follow.js";
import { library } from "./library.js";
import { isPressed, lookNow, press } from "./look.js";
import { Marks } from "./marks.js";
import { nameOf, stemOf } from "./names.js";
import { findBlob, findPhoto, keepPhoto, photoOf } from "./photos.js";
import { PartList } from "./parts.js";
import { drawPager } from "./pager.js";
import { clearPrint, fillPrint } from "./print.js";
import { inWords, steps } from "./progress.js";
import { ServiceError, complain, need, patient, service } from "./service.js";
import { damageWords, summaryOf } from "./summary.js";
import { kindName, partName, percent, sureness, t, typeName } from "./texts.js";
import { Viewer } from "./viewer.js";

const TOLERANCES = [0, 0.5, 1, 1.5, 2, 3, 5, 8, 12, 20]; // pixels

/** A result with the parts and damages that are sure enough, as the service gives it. */
function sure(result, confidence) {
  const isSure = (found) => found.confidence >= confidence;
  const parts = result.parts.filter(isSure);
  if (!result.damages) return { ...result, parts };
  const names = new Set(parts.map(({ name }) => name));
  const damages = result.damages.filter(isSure).map((damage) => {
    return { ...damage, parts: damage.parts.filter(({ name }) => names.has(name)) };
  });
  return { ...result, parts, damages };
}

export class ResultPage {
  /**
   * @param events {onDelete(hash), neighbours(hash)}: neighbours gives the hashes of the results
   *   among which this one is, in their order
   */
  constructor(config, events) {
    this.config = config;
    this.events = events;
    this.all = null; // the result with the parts of any confidence
    this.result = null; // the same with those that are sure enough
    this.confidence = config.confidence;
    this.tolerance = null; // the service's own until the slider is moved
    this.picked = null;
    const nodes = { stage: "stage", photo: "photo", overlay: "overlay", line: "wipe-line" };
    for (const [name, id] of Object.entries(nodes)) nodes[name] = byId(id);
    this.viewer = new Viewer(nodes, {
      onHover: (name) => this.light(name),
      onPick: (name) => this.pick(name === this.picked ? null : name),
      onZoom: (factor) => this.#zoomed(factor),
      onWipe: (share) => this.#wipe(share),
    });
    this.list = new PartList(config, this);
    this.json = null; // and samples: loaded when they are first looked at
    this.samples = null;
    this.damage = null; // the list of damages, null unless the photo was examined for damage
    this.damageError = ""; // why the last examination for damage failed
    this.marks = new Marks(() => this.list.drawMarks());
    this.#listen();
  }

  /** Show the result of a hash, whatever its standing is. */
  async open(hash) {
    this.close();
    this.hash = hash;
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.tolerance = null;
    this.picked = null;
    this.list.on.clear();
    drawPager(this.events.neighbours(hash), hash);
    this.#state(t("result.inWork"), "");
    try {
      let standing = await service.status(hash, { signal });
      if (standing.status === "Uploaded" || standing.status === "Processing") {
        standing = await this.#wait(hash, standing, signal);
      }
      if (standing.status === "Error") return this.#state(t("result.failed"), standing.message, "en");
      const wanted = service.result(hash, { min_confidence: 0, signal });
      const [all] = await Promise.all([wanted, this.marks.load(hash), findPhoto(hash)]);
      const module = all.damages ? await need("damage") : null;
      signal.throwIfAborted();
      this.damageError = standing.damage_error ?? "";
      this.damage = module && (this.damages ??= new module.DamageList(this));
      this.hatchings = module?.hatchings(this.config) ?? [];
      library.note(hash, summaryOf(sure(all, this.config.confidence), this.config));
      this.#take(all);
      this.#show();
      if (standing.damage === "pending") await this.#followDamage(signal);
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
    }
  }

  /** Send the photo again, to be examined for damage. */
  async #askDamage() {
    const { hash, abort: { signal } } = this;
    this.#damageState(true);
    try {
      const options = { damage: true, file_name: null, signal };
      const other = await patient.submit(await findBlob(hash), options);
      if (other === hash) await this.#followDamage(signal);
      else location.hash = other; // a photo that was added here, and is not the one of the result
    } catch (error) {
      if (signal.aborted) return;
      complain(error);
      this.#damageState(false);
    }
  }

  async #followDamage(signal) {
    this.#damageState(true);
    const last = await follow(this.hash, { onStatus: () => null, signal });
    if (last.status === "Error") throw new ServiceError(last.message, 404);
    await this.open(this.hash);
    if (this.damageError) announce(byId("damage-failed").textContent);
  }

  /** What the box of damages shows: the list, the button that asks for it, or that it is sought. */
  #damageState(isSought) {
    const canAsk = Boolean(photoOf(this.hash)) && !this.damage;
    const failed = this.damageError && !isSought;
    byId("damage-box").hidden = !this.damage && !canAsk && !isSought && !failed;
    byId("damage-list").hidden = byId("found-title").hidden = !this.damage;
    byId("ask-damage").hidden = !canAsk || isSought;
    byId("damage-sought").hidden = !isSought;
    byId("damage-failed").hidden = !failed;
    byId("damage-reason").textContent = this.damageError;
  }

  /** Stop what is under way. */
  close() {
    this.abort?.abort();
    this.redrawing?.abort();
    this.all = this.result = null;
    byId("result-body").hidden = true; // not to be seen, or deleted, as another
    clearPrint();
  }

  /** The options of the service that give what is shown. */
  get options() {
    return { tolerance: this.tolerance, min_confidence: this.confidence };
  }

  /** The parts that are not sure enough. */
  get maybe() {
    return this.all.parts.filter((part) => !this.result.parts.includes(part));
  }

  #take(all) {
    this.all = all;
    all.damages?.forEach((damage, at) => (damage.key = `#${at}`)); // as no part is called
    this.result = sure(all, this.confidence);
  }

  /** Show the name of the photo and its neighbours, which the list of results brought. */
  update() {
    if (this.hash) drawPager(this.events.neighbours(this.hash), this.hash);
    if (!this.result) return;
    this.#name();
    fillDownloads(this);
    fillPrint(this);
  }

  /** Write all texts anew, in another language. */
  redraw() {
    if (this.hash) drawPager(this.events.neighbours(this.hash), this.hash);
    if (this.result) this.#show(true);
    else if (this.hash) this.open(this.hash);
  }

  /** Light up a part, or none: then the one that was picked. */
  light(name) {
    const shown = name ?? this.picked;
    this.viewer.light(shown);
    this.list.light(shown);
    this.damage?.light(shown);
    const words = this.#captionOf(shown);
    const caption = byId("caption");
    caption.hidden = !words;
    if (!words) return;
    const dot = el("span", { class: "dot" });
    dot.style.background = words[2];
    caption.replaceChildren(dot, el("strong", {}, words[0]), el("span", {}, words[1]));
  }

  /** The name of a part or damage, a note on it, and its colour; null for none. */
  #captionOf(key) {
    const damage = this.result?.damages?.find((other) => other.key === key);
    if (damage && this.damage) return this.damage.captionOf(damage);
    const part = this.all?.parts.find((other) => other.name === key);
    if (!part) return null;
    const note = `${sureness(part.confidence)} · ${this.areaOf(part)}`;
    return [partName(key), note, this.config.colours[key]];
  }

  /** Choose a part, or none. */
  pick(name) {
    this.picked = name;
    this.light(name);
    this.list.pick(name);
    this.damage?.pick(name);
    const words = this.#captionOf(name);
    if (words) announce(`${words[0]}: ${words[1].replace(" · ", ", ")}`);
  }

  /** A part's area in words. */
  areaOf({ area }) {
    const share = area / (this.result.width * this.result.height);
    return t("result.ofPhoto", { p: percent(share, share < 0.001 ? 2 : share < 0.1 ? 1 : 0) });
  }

  /** Have a link save the mask of a part. */
  fillMaskLink(link, name) {
    const options = { min_confidence: Math.min(this.confidence, this.config.confidence) };
    const wanted = this.all.parts.find((part) => part.name === name);
    if (wanted.confidence < options.min_confidence) options.min_confidence = 0;
    const path = service.path(this.hash, options, `masks/${name}.png`).slice(1);
    pointTo(link, t("result.mask"), path, `${stemOf(nameOf(this.hash))}-${name}.png`);
  }

  #state(title, text, lang = null, again = null) {
    byId("result-body").hidden = true;
    byId("result-title").textContent = title;
    byId("result-name").textContent = "";
    byId("result-summary").replaceChildren();
    const words = el("p", { lang }, text);
    const button = again && el("button", { class: "button", onclick: again }, t("error.again"));
    byId("result-state").replaceChildren(words, ...(button ? [button] : []));
    document.title = `${title} – ${t("app")}`;
    return words;
  }

  #failed(error) {
    if (error.status === 404) return this.#state(t("result.gone"), t("result.goneHelp", { n: this.config.keep_days }));
    const again = () => this.open(this.hash);
    if (error.status > 0) return this.#state(t("upload.failed"), error.message, "en", again);
    const key = error.status === 0 ? "error.unreachable" : "error.unexpected";
    return this.#state(t("upload.failed"), t(key), null, again);
  }

  async #wait(hash, standing, signal) {
    const words = this.#state(t("result.inWork"), "");
    const bar = steps();
    words.before(bar.node);
    const onStatus = ({ status: state, ...rest }) => {
      bar.update({ state, ...rest });
      words.textContent = inWords({ state, ...rest });
      announce(words.textContent);
    };
    onStatus(standing);
    return follow(hash, { onStatus, signal });
  }

  #show(again = false) {
    const { result, config } = this;
    const none = result.message.startsWith(config.no_car);
    const title = result.type ? typeName(result.type.name) : t(none ? "result.noCar" : "result.unknownType");
    byId("result-title").textContent = title;
    document.title = `${title} – ${t("app")}`;
    byId("result-summary").replaceChildren(...this.#summary(none));
    this.#name();
    byId("result-state").replaceChildren(...(none ? [el("p", {}, t("result.noCarHelp"))] : []));
    byId("result-body").hidden = false;
    byId("result-body").classList.toggle("no-car", none);
    const url = photoOf(this.hash);
    byId("ground").hidden = Boolean(url);
    byId("compare").disabled = !url;
    this.#damageState(false);
    if (!url) byId("compare").setAttribute("aria-pressed", "false");
    if (!again) this.viewer.show(result, url);
    this.#draw();
    this.#compare();
    fillCopies(this);
    fillEdits(this);
  }

  #name() {
    byId("result-name").textContent = library.get(this.hash).name ?? "";
  }

  #found() {
    const n = this.result.parts.length;
    return t(n ? "result.found" : "result.noParts", { n });
  }

  #summary(none) {
    if (none) return [];
    const { type, rotation, other_cars: others } = this.result;
    const words = [type ? sureness(type.confidence) : t("result.noType")];
    const [, second] = Object.entries(type?.scores ?? {}).sort((a, b) => b[1] - a[1]);
    if (second?.[1] >= 0.1) {
      words.push(t("result.orElse", { name: typeName(second[0]), p: percent(second[1]) }));
    }
    words.push(this.#found());
    if (rotation) words.push(t("result.turned", { n: rotation }));
    const { damages } = this.result;
    if (damages) words.push(damageWords(damages.length));
    if (others) words.push(t("result.others"));
    return words.map((text) => el("span", {}, text));
  }

  #draw() {
    const { all, config, viewer, list } = this;
    // Large parts first, so that a small one within them can be pointed at.
    const parts = [...all.parts].sort((a, b) => b.area - a.area);
    viewer.draw(
      parts.map(({ name, polygons }) => {
        return { name, polygons, colour: config.colours[name], label: partName(name) };
      }),
      this.#damageShapes(),
    );
    this.#look();
    this.#points();
    this.#sort();
  }

  #damageShapes() {
    const damages = this.damage ? [...this.all.damages].sort((a, b) => b.area - a.area) : [];
    const shapes = damages.map(({ key: name, kind, polygons }) => {
      const stroke = this.config.damage_colours[kind];
      return { name, polygons, colour: `url(#hatching-${kind})`, stroke, label: kindName(kind) };
    });
    return { patterns: this.damage ? this.hatchings : [], shapes };
  }

  /** Share the parts out between the lists of those found, and of those that may be there. */
  #sort() {
    this.damage?.draw();
    this.list.draw(this.result.parts, this.maybe);
    this.marks.draw();
    this.light(null);
    this.list.pick(this.picked);
    this.damage?.pick(this.picked);
    this.viewer.overlay.setAttribute("aria-label", `${byId("result-title").textContent}, ${this.#found()}`);
    const words = percent(this.confidence);
    byId("confidence").value = Math.round(this.confidence * 100);
    byId("confidence").setAttribute("aria-valuetext", words);
    byId("least").textContent = words;
    fillDownloads(this);
    this.samples?.fillSamples(this);
    this.#view();
  }

  /** Show the list of parts, or the JSON. */
  async #view() {
    const on = byId("view-json").checked;
    byId("json").hidden = !on;
    byId("part-lists").hidden = on;
    byId("all-parts").parentElement.hidden = on;
    if (!on) return;
    const module = this.json ? null : await need("json_view");
    if (module) this.json ??= new module.JsonView(this);
    this.json?.update();
  }

  async #code() {
    if (this.samples) return;
    this.samples = await need("samples");
    this.samples?.listenSamples(this);
  }

  /** Hide the parts that are switched off. */
  shownParts() {
    const { hidden } = this.list;
    const shown = this.damage?.shown ?? [];
    for (const { key } of this.all.damages ?? []) {
      if (!shown.some((damage) => damage.key === key)) hidden.add(key);
    }
    this.viewer.hide(hidden);
    fillPrint(this);
  }

  /** The parts that are shown now. */
  get shown() {
    const { hidden } = this.list;
    return this.all.parts.filter(({ name }) => !hidden.has(name));
  }

  #setConfidence(confidence) {
    this.confidence = confidence;
    this.result = sure(this.all, confidence);
    const none = this.result.message.startsWith(this.config.no_car);
    byId("result-summary").replaceChildren(...this.#summary(none));
    this.#sort();
  }

  #points() {
    const rings = this.result.parts.flatMap(({ polygons }) =>
      polygons.flatMap(({ exterior, holes }) => [exterior, ...holes]),
    );
    const count = rings.reduce((sum, ring) => sum + ring.length, 0);
    const pixels = this.tolerance ?? this.config.tolerance;
    const off = pixels ? t("result.pointsOff", { n: pixels }) : t("result.pointsExact");
    const words = `${t("result.points", { n: count })}, ${off}`;
    byId("points").textContent = words;
    const slider = byId("tolerance");
    slider.max = TOLERANCES.length - 1;
    const distance = TOLERANCES.map((value) => Math.abs(value - pixels));
    slider.value = distance.indexOf(Math.min(...distance));
    slider.setAttribute("aria-valuetext", words);
  }

  async #redetail() {
    this.redrawing?.abort();
    this.redrawing = new AbortController();
    const { signal } = this.redrawing;
    const tolerance = TOLERANCES[byId("tolerance").value];
    const words = t("result.pointsOff", { n: tolerance });
    byId("tolerance").setAttribute("aria-valuetext", tolerance ? words : t("result.pointsExact"));
    try {
      await sleep(150, signal); // until the slider rests
      const all = await service.result(this.hash, { tolerance, min_confidence: 0, signal });
      this.tolerance = tolerance;
      this.#take(all);
      this.#draw();
    } catch (error) {
      if (signal.aborted) return;
      complain(error);
      this.#points(); // back to what is drawn
    }
  }

  #look() {
    const look = lookNow(this.config);
    byId("opacity").setAttribute("aria-valuetext", percent(look.opacity));
    this.viewer.look(look);
    fillPrint(this);
  }

  #compare() {
    const on = isPressed("compare");
    byId("wipe").hidden = !on;
    this.viewer.wipe(on ? Number(byId("wipe").value) : null);
  }

  #wipe(share) {
    byId("wipe").value = share;
    byId("wipe").setAttribute("aria-valuetext", percent(share / 100));
    this.#compare();
  }

  #zoomed(factor) {
    announceSettled(t("result.zoomed", { p: percent(factor) }));
  }

  async #addPhoto(file) {
    const { width, height } = this.result;
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (!bitmap) return toast(t("result.cantShow"));
    const sameShape = Math.abs(bitmap.width / bitmap.height / (width / height) - 1) < 0.01;
    bitmap.close();
    if (!sameShape) return toast(t("result.otherShape"));
    keepPhoto(this.hash, file);
    return this.#show();
  }

  #listen() {
    const { viewer } = this;
    byId("zoom-in").addEventListener("click", () => this.#zoomed(viewer.zoom(1.5)));
    byId("zoom-out").addEventListener("click", () => this.#zoomed(viewer.zoom(1 / 1.5)));
    byId("zoom-fit").addEventListener("click", () => this.#zoomed((viewer.fit(), 1)));
    for (const id of ["look-filled", "look-outline", "opacity"]) {
      byId(id).addEventListener("input", () => this.#look());
    }
    byId("tolerance").addEventListener("input", () => this.#redetail());
    byId("wipe").addEventListener("input", (event) => this.#wipe(Number(event.target.value)));
    byId("compare").addEventListener("click", () => (press("compare"), this.#compare()));
    byId("names").addEventListener("click", () => (press("names"), this.#look()));
    byId("confidence").addEventListener("input", ({ target }) => {
      if (this.all) this.#setConfidence(target.value / 100);
    });
    for (const id of ["view-parts", "view-json"]) {
      byId(id).addEventListener("input", () => this.#view());
    }
    byId("code-box").addEventListener("toggle", () => this.#code());
    byId("ask-damage").addEventListener("click", () => this.#askDamage());
    byId("print-result").addEventListener("click", () => window.print());
    byId("delete").addEventListener("click", () => this.hash && this.events.onDelete(this.hash));
    byId("add-photo").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.#addPhoto(target.files[0]);
      target.value = "";
    });
    byId("photo").addEventListener("error", () => {
      byId("photo").hidden = true;
      byId("stage").classList.add("plain");
    });
    byId("result").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.picked) this.pick(null);
    });
  }
}

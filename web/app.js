// The page: which of its two views is shown, how photos come in, and the language.

import { batchMenu } from "./batch_menu.js";
import { byId, el, sleep, toast } from "./dom.js";
import { Gallery } from "./gallery.js";
import { drawKept, listenKept } from "./kept.js";
import { library } from "./library.js";
import { forgetPhotos, keepPhoto } from "./photos.js";
import { listenPager } from "./pager.js";
import { Removal } from "./removal.js";
import { address, config, file, ServiceError } from "./service.js";
import { Summaries } from "./summary.js";
import { languages, setLanguage, t } from "./texts.js";
import { Uploads } from "./uploads.js";

const HASH = /^#[0-9a-f]{64}$/;

/** The language of the address, else the first of the browser's that there is. */
function wantedLanguage() {
  const asked = new URLSearchParams(location.search).get("lang");
  const liked = navigator.languages.map((tag) => tag.split("-")[0]);
  return [asked, ...liked].find((code) => Object.hasOwn(languages, code)) ?? "en";
}

async function translate(code, limits) {
  document.documentElement.lang = await setLanguage(code);
  document.title = t("app");
  const values = { mb: limits ? Math.round(limits.max_upload_bytes / 104857.6) / 10 : 20 };
  for (const node of document.querySelectorAll("[data-t]")) {
    node.textContent = t(node.dataset.t, values);
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", t(node.dataset.label));
    if (["BUTTON", "A"].includes(node.tagName)) node.title = t(node.dataset.label);
  }
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = t(node.dataset.hint);
}

function addLanguages(onChange) {
  const select = byId("language");
  for (const [code, name] of Object.entries(languages)) {
    select.append(el("option", { value: code, lang: code }, name));
  }
  select.value = document.documentElement.lang;
  select.addEventListener("change", () => {
    const url = new URL(location.href);
    url.searchParams.set("lang", select.value); // in the address: it is shared, and stored nowhere
    history.replaceState(null, "", url);
    onChange(select.value).catch(() => toast(t("error.unreachable")));
  });
}

function addInputs(add, limits) {
  for (const id of ["choose", "camera"]) {
    const input = byId(id);
    const take = () => {
      add([...input.files]);
      input.value = ""; // the same file can be chosen again
    };
    input.addEventListener("change", take);
    take(); // chosen before the page was ready
  }
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    add(files.map((file) => new File([file], t("upload.pasted"), { type: file.type })));
  });
  let depth = 0; // dragenter and dragleave come for each element on the way
  const carries = (event) => event.dataTransfer.types.includes("Files");
  const mark = (on) => {
    depth = on ? depth : 0;
    document.body.classList.toggle("dropping", on);
  };
  document.addEventListener("dragenter", (event) => carries(event) && (depth++, mark(true)));
  document.addEventListener("dragleave", (event) => carries(event) && --depth <= 0 && mark(false));
  document.addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    mark(false);
    add([...event.dataTransfer.files]);
  });
  byId("sample").hidden = !limits.sample;
  byId("sample").addEventListener("click", () => {
    add([{ name: t("upload.sample"), blob: () => file("ui/sample.png") }]);
  });
}

/** The switch that has photos examined for damage, remembered in localStorage. */
function listenDamage({ damage }) {
  const box = byId("want-damage");
  try {
    box.checked = (localStorage.getItem("carseg.damage") ?? damage) === "always";
  } catch {
    box.checked = damage === "always"; // storage is switched off
  }
  box.addEventListener("change", () => {
    try {
      localStorage.setItem("carseg.damage", box.checked ? "always" : "asked");
    } catch {
      // the choice holds until the page is left
    }
  });
}

/** The view of a result, which is loaded when the first one is opened. */
class LazyResults {
  constructor(config, events) {
    Object.assign(this, { config, events, page: null, wanted: null });
  }

  /** Resolves to the view, null while the service does not answer. */
  async load() {
    const module = await import("./result.js").catch(() => null);
    if (module) this.page ??= new module.ResultPage(this.config, this.events);
    return this.page;
  }

  async open(hash) {
    this.wanted = hash;
    const page = await this.load();
    if (this.wanted !== hash) return; // another was opened, or none, in the meantime
    if (page) page.open(hash);
    else toast(t("error.unreachable"));
  }

  close() {
    this.wanted = null;
    this.page?.close();
    if (this.page) this.page.hash = null;
  }
}

async function start(limits) {
  await library.open();
  const go = (hash) => (location.hash = hash);
  const removal = new Removal((gone) => {
    forgetPhotos(gone);
    uploads.forget(gone);
    gallery.update(gone);
    drawKept();
  });
  const summaries = new Summaries(limits);
  const gallery = new Gallery({ config: limits, summaries, removal });
  const results = new LazyResults(limits, {
    onDelete: (hash) => {
      go("");
      removal.add([hash]);
    },
    neighbours: (hash) => {
      const batch = uploads.ready.filter((other) => !removal.hidden.has(other));
      return batch.includes(hash) ? batch : gallery.matching;
    },
  });
  const uploads = new Uploads({ config: limits, summaries }, (item, alone) => {
    gallery.refresh();
    if (alone && !HASH.test(location.hash)) go(item.hash);
  });
  batchMenu(byId("batch-menu"), limits, () => uploads.ready);
  batchMenu(byId("chosen-menu"), limits, () => gallery.chosenInOrder, "result.take");
  await translate(document.documentElement.lang, limits); // the menus, too
  listenPager();
  listenDamage(limits);
  listenKept(() => (gallery.update(), drawKept()));
  if (limits.sample) keepPhoto(limits.sample, address("ui/sample.png"));

  let place = 0; // of the lists in the window, to come back to
  const route = (first) => {
    if (location.hash && !HASH.test(location.hash) && !first) return; // the link to the content
    const result = HASH.test(location.hash);
    if (result && !byId("start").hidden) place = scrollY;
    byId("result").hidden = !result;
    byId("start").hidden = result;
    scrollTo(0, result ? 0 : place);
    if (result) {
      results.open(location.hash.slice(1));
      if (first) gallery.refresh().then(() => results.page?.update()); // as for a shared link
    } else {
      results.close();
      document.title = t("app");
      uploads.redraw(); // a result may have been examined for damage
      gallery.refresh();
    }
    const stays = ["pager", "toast"].some((id) => byId(id).contains(document.activeElement));
    if (first === true || stays) return;
    byId(result ? "result-title" : "start-title").focus({ preventScroll: true });
  };

  addLanguages(async (code) => {
    await translate(code, limits);
    gallery.redraw();
    uploads.redraw();
    results.page?.redraw();
    drawKept();
  });
  addInputs((files) => {
    if (!files.length) return;
    place = 0; // the list of uploads
    if (HASH.test(location.hash)) go("");
    results.load(); // it will be needed soon
    uploads.add(files);
  }, limits);
  addEventListener("hashchange", () => route());
  route(true);
  uploads.resume();
  document.body.classList.add("ready");
}

async function main() {
  const code = wantedLanguage();
  await translate(code);
  for (;;) {
    try {
      const limits = await config();
      await translate(code, limits);
      return start(limits);
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      byId("gallery-note").hidden = false;
      byId("gallery-note").textContent = t("error.unreachable");
      await sleep(3000);
    }
  }
}

main();

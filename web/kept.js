// The box that says what this browser keeps, with the switch and the button that deletes it.

import { byId, toast } from "./dom.js";
import { library } from "./library.js";
import { number, t } from "./texts.js";

/** Write how much is kept. */
export function drawKept() {
  const [n, mb] = [library.entries.size, number(library.size / 1048576, 1)];
  byId("keep").checked = library.keeps && Boolean(library.db);
  byId("keep").disabled = !library.db;
  byId("kept-size").textContent = library.db ? t("kept.size", { n, mb }) : t("kept.none");
  byId("forget").hidden = !n || !library.db;
}

/** @param onChange called when something was deleted */
export function listenKept(onChange) {
  byId("keep").addEventListener("change", async ({ target }) => {
    await library.setKeeping(target.checked);
    onChange();
  });
  byId("forget").addEventListener("click", async () => {
    await library.clear();
    toast(t("kept.deleted"));
    byId("keep").focus();
    onChange();
  });
  byId("kept").addEventListener("toggle", drawKept);
}

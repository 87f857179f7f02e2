// The result as JSON, next to the picture.

import { byId } from "./dom.js";
import { service } from "./service.js";
import { t } from "./texts.js";

/** JSON with one point per line instead of one number. */
const readable = (value) =>
  JSON.stringify(value, null, 2).replace(
    /\[\s+([-\d.,\se+]+?)\s+\]/g,
    (_, numbers) => `[${numbers.replace(/\s+/g, " ")}]`,
  );

export class JsonView {
  /** @param page the ResultPage: hash, options */
  constructor(page) {
    this.page = page;
  }

  /** Show the JSON of what is shown now. */
  async update() {
    const { hash, options } = this.page;
    const wanted = JSON.stringify([hash, options]);
    if (this.wanted === wanted) return;
    this.wanted = wanted;
    try {
      const result = await service.result(hash, options);
      if (this.wanted === wanted) byId("json").textContent = readable(result);
    } catch (error) {
      this.wanted = null;
      byId("json").textContent = error.status > 0 ? error.message : t("error.unreachable");
    }
  }
}

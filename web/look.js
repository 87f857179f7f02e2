// How parts are drawn now: what the controls below the picture say.

import { byId } from "./dom.js";
import { partName } from "./texts.js";

/** The look for drawPhoto of picture.js; `nameOf` is null while names are switched off. */
export const lookNow = ({ colours, damage_colours: damageColours }) => ({
  colours,
  damageColours,
  filled: byId("look-filled").checked,
  opacity: byId("opacity").value / 100,
  nameOf: isPressed("names") ? partName : null,
});

/** True if a button that switches something is on. */
export const isPressed = (id) => byId(id).getAttribute("aria-pressed") === "true";

/** Switch a button of that kind. */
export const press = (id) => byId(id).setAttribute("aria-pressed", !isPressed(id));

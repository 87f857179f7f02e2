// Names of files: those of the user, where this browser knows them.

import { library } from "./library.js";

/** A file name without its ending. */
export const stemOf = (name) => name.replace(/\.[^.]{1,5}$/, "");

/** The user's name of a photo, else one made of its hash; it has no folder. */
export const nameOf = (hash) =>
  (library.get(hash).name ?? `car-${hash.slice(0, 8)}.png`).replace(/[\\/]/g, "_");

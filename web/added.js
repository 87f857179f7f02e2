// Hashes of the photos added in this browser, in localStorage: so they are followed after a reload.

const STORE = "carseg.ids";
const MOST = 200;

/** The hashes, newest first. */
export function remembered() {
  try {
    const list = JSON.parse(localStorage.getItem(STORE));
    return Array.isArray(list) ? list.filter((hash) => /^[0-9a-f]{64}$/.test(hash)) : [];
  } catch {
    return []; // storage is switched off, or holds something else
  }
}

/** Remember one more hash. */
export function remember(hash) {
  write([hash, ...remembered().filter((other) => other !== hash)].slice(0, MOST));
}

/** Forget some hashes. */
export function unremember(hashes) {
  const list = remembered();
  if (list.some((hash) => hashes.includes(hash))) {
    write(list.filter((hash) => !hashes.includes(hash)));
  }
}

function write(list) {
  try {
    localStorage.setItem(STORE, JSON.stringify(list));
  } catch {
    // storage is full or switched off: the page works without
  }
}

// What this browser alone keeps: name, time and summary of each photo, a small picture, the photo.
//
// All of it is in IndexedDB. Where that is missing or fails, the page works with what this tab
// knows, and forgets it when the tab is closed.

const OPEN_WITHIN = 3000; // milliseconds; a browser may never answer
const MOST = 2000; // entries; the oldest go first
const SWITCH = "carseg.keep"; // in localStorage, only while keeping is switched off

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

export class Library {
  /** @param options {name, budget}: of the database, and the bytes that all photos may take */
  constructor({ name = "carseg", budget = 200 * 1024 * 1024 } = {}) {
    Object.assign(this, { name, budget });
    this.db = null;
    this.onNote = () => {}; // called with the hash of an entry that changed
    this.entries = new Map(); // hash -> {hash, name, time, type, sure, count, none, thumb, size}
    this.known = new Map(); // hash -> fields of an entry as the service gave them, in this tab only
    this.thumbs = new Map(); // hash -> address of the small picture
  }

  /** False if the person has switched keeping off. */
  get keeps() {
    try {
      return localStorage.getItem(SWITCH) !== "no";
    } catch {
      return true;
    }
  }

  /** Open the database and read all entries. */
  async open() {
    const late = new Promise((resolve) => setTimeout(resolve, OPEN_WITHIN));
    await Promise.race([this.#read().catch(() => null), late]);
  }

  async #read() {
    this.db = await this.#open();
    const kept = await done(this.#store("entries").getAll()).catch(() => []);
    for (const { hash, ...entry } of kept) {
      this.entries.set(hash, { hash, ...entry, ...this.entries.get(hash) });
      this.onNote(hash);
    }
  }

  /** What is known of a photo: an object, empty if there is nothing. */
  get(hash) {
    return { ...this.known.get(hash), ...this.entries.get(hash) };
  }

  /** False while the service may know more of a photo, such as its name. */
  isComplete(hash) {
    const { name, count } = this.get(hash);
    return this.known.has(hash) || (name !== undefined && count !== undefined);
  }

  /** Take what the service says of a photo; what this browser keeps of it counts more. */
  learn(hash, fields) {
    this.known.set(hash, fields);
  }

  /** Add fields to the entry of a photo. */
  async note(hash, fields) {
    const entry = { ...this.entries.get(hash), hash, ...fields };
    this.entries.set(hash, entry);
    this.onNote(hash);
    if (this.keeps) await this.#write((entries) => entries.put(entry));
  }

  /** Keep a photo and its small picture. The oldest photos go if there is no room. */
  async keep(hash, photo, thumb) {
    await this.note(hash, { thumb, time: this.get(hash).time ?? Date.now() });
    if (!this.keeps || !this.db || photo.size > this.budget) return;
    await this.#makeRoom(photo.size);
    const kept = await this.#write((_, photos) => photos.put(photo, hash));
    if (kept) await this.note(hash, { size: photo.size });
  }

  /** The photo as a Blob, null if it is not kept. */
  async photo(hash) {
    if (!this.db || !this.get(hash).size) return null;
    return (await done(this.#store("photos").get(hash)).catch(() => null)) ?? null;
  }

  /** The address of the small picture, null if there is none. */
  thumbOf(hash) {
    const { thumb } = this.get(hash);
    if (!thumb) return null;
    if (!this.thumbs.has(hash)) this.thumbs.set(hash, URL.createObjectURL(thumb));
    return this.thumbs.get(hash);
  }

  /** Bytes of all photos and small pictures that are kept. */
  get size() {
    return this.#sum(({ size = 0, thumb }) => size + (thumb?.size ?? 0));
  }

  /** Delete all that is kept of some photos. */
  async forget(hashes) {
    for (const hash of hashes) {
      this.entries.delete(hash);
      this.known.delete(hash);
      if (this.thumbs.has(hash)) URL.revokeObjectURL(this.thumbs.get(hash));
      this.thumbs.delete(hash);
    }
    await this.#write((entries, photos) => {
      for (const hash of hashes) (entries.delete(hash), photos.delete(hash));
    });
  }

  /** Delete all that is kept. */
  async clear() {
    this.known = new Map(); // what is asked for now is not learned any more
    await this.forget([...this.entries.keys()]);
    await this.#write((entries, photos) => (entries.clear(), photos.clear()));
  }

  /** Switch keeping on, or off: then nothing stays. */
  async setKeeping(on) {
    try {
      if (on) localStorage.removeItem(SWITCH);
      else localStorage.setItem(SWITCH, "no");
    } catch {
      // the choice holds for this tab's life only, as all else does then
    }
    if (!on) await this.clear();
  }

  /** Hashes of the photos that have been Ready. */
  get summarized() {
    const ready = [...this.entries.values()].filter(({ count, none }) => count !== undefined || none);
    return ready.map(({ hash }) => hash);
  }

  /** Forget photos that were `summarized` before the service was asked for `hashes`, and are gone. */
  async prune(summarized, hashes) {
    const there = new Set(hashes);
    const gone = summarized.filter((hash) => !there.has(hash));
    if (gone.length) await this.forget(gone);
    if (this.entries.size > MOST) await this.forget(this.#oldest().slice(0, -MOST));
  }

  #oldest() {
    const all = [...this.entries.values()].sort((a, b) => (a.time ?? 0) - (b.time ?? 0));
    return all.map(({ hash }) => hash);
  }

  async #makeRoom(bytes) {
    let room = this.budget - this.#sum(({ size = 0 }) => size);
    for (const hash of this.#oldest()) {
      if (room >= bytes) return;
      const { size } = this.get(hash);
      if (!size) continue;
      room += size;
      await this.#write((_, photos) => photos.delete(hash));
      await this.note(hash, { size: 0 });
    }
  }

  #sum(of) {
    return [...this.entries.values()].reduce((sum, entry) => sum + of(entry), 0);
  }

  async #open() {
    const request = indexedDB.open(this.name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("entries", { keyPath: "hash" });
      request.result.createObjectStore("photos");
    };
    return done(request);
  }

  #store(name) {
    return this.db.transaction(name).objectStore(name);
  }

  /** Run a change of (entries, photos); false if it failed, as on a full disk. */
  async #write(change) {
    if (!this.db) return false;
    try {
      const transaction = this.db.transaction(["entries", "photos"], "readwrite");
      change(transaction.objectStore("entries"), transaction.objectStore("photos"));
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onerror = transaction.onabort = () => reject(transaction.error);
      });
      return true;
    } catch {
      return false;
    }
  }
}

export const library = new Library();

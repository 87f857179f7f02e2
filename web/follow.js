// Follow a photo until it is Ready or Error: live where possible, else by asking again and again.

import { sleep } from "./dom.js";
import { address, service } from "./service.js";

const TRIES = 6; // failures in a row until we give up
const ended = ({ status, damage }) => status === "Error" || (status === "Ready" && damage !== "pending");

/**
 * @param hash of the photo
 * @param onStatus called with each {status, message, position, stage}, and {status: "Lost"} while
 *   the service does not answer
 * @param live says whether this photo is the one to follow closely. Only one at a time should be:
 *   a browser opens few connections to a host, and the service has few for listeners.
 * @returns the last standing
 */
export async function follow(hash, { onStatus, signal, live = () => true }) {
  let listen = "EventSource" in window;
  let failures = 0;
  for (;;) {
    if (live() && listen) {
      listen = false; // one connection per photo; where it breaks, asking does
      const last = await events(hash, onStatus, signal);
      if (last) return last;
    }
    try {
      const standing = await service.status(hash, { wait: live() ? 2 : 0, signal });
      failures = 0;
      onStatus(standing);
      if (ended(standing)) return standing;
    } catch (error) {
      failures += 1;
      const fatal = error.status >= 400 && error.status < 500 && error.status !== 429;
      if (signal?.aborted || fatal || failures >= TRIES) throw error;
      onStatus({ status: "Lost" });
    }
    await sleep(failures ? Math.min(500 * 2 ** failures, 8000) : live() ? 400 : 2000, signal);
  }
}

/** Server-sent events; gives the last standing, or null where the connection ended before it. */
function events(hash, onStatus, signal) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(address(`${hash}/events`));
    const end = (action, value) => (source.close(), action(value));
    signal?.addEventListener("abort", () => end(reject, signal.reason), { once: true });
    source.onerror = () => end(resolve, null);
    source.addEventListener("status", (event) => {
      const standing = JSON.parse(event.data);
      onStatus(standing);
      if (ended(standing)) end(resolve, standing);
    });
  });
}

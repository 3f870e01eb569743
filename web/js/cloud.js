/** Asks the correction service through the page's own server. Nothing that happens on the network is thrown. */

// What became of a request, in the words of recbole_cocorr.service.
export const [CORRECTED, LATE, OFFLINE, REFUSED] = ["corrected", "late", "offline", "refused"];

// Milliseconds after which a request is given up, whoever waits for it.
const GIVEN_UP = 5000;
// The service is there, and does not want this request.
const REFUSING = [400, 401, 403, 404, 409, 413, 429];

export class Cloud {
  /** `root` is the page's address, `deadline` the most milliseconds that a ranking waits. */
  constructor(root, deadline) {
    this.root = root;
    this.deadline = deadline;
    this.uploaded = 0; // bytes of bodies, since the page was loaded
  }

  /** Send a request; returns what tells of it. */
  ask(path, headers, body) {
    this.uploaded += body.byteLength;
    return new Pending(new URL(path, this.root), headers, body);
  }
}

/** A request on its way. */
class Pending {
  constructor(url, headers, body) {
    this.upload = body.byteLength;
    this.since = performance.now();
    this.control = new AbortController();
    this.answer = this.#fetched(url, headers, body);
  }

  /**
   * The answer, or null if it was not there `milliseconds` after the request left: the moment from which its round trip
   * is measured, however long the page has drawn meanwhile.
   */
  async within(milliseconds) {
    const left = milliseconds - (performance.now() - this.since);
    let timer;
    const over = new Promise((resolve) => {
      timer = setTimeout(resolve, Math.max(left, 0), null);
    });
    const answer = await Promise.race([this.answer, over]).finally(() => clearTimeout(timer));
    return answer?.milliseconds > milliseconds ? null : answer;
  }

  /** Give it up. */
  cancel() {
    this.control.abort();
  }

  async #fetched(url, headers, body) {
    const told = { upload: this.upload, download: 0 };
    const timer = setTimeout(() => this.cancel(), GIVEN_UP);
    try {
      const reply = await fetch(url, { method: "POST", headers, body, signal: this.control.signal, cache: "no-store" });
      const content = await reply.arrayBuffer();
      told.milliseconds = performance.now() - this.since;
      if (reply.ok) {
        return { ...told, status: CORRECTED, reason: "", content, headers: reply.headers, download: content.byteLength };
      }
      const said = new TextDecoder().decode(content).trim().slice(0, 200);
      return { ...told, status: statusOf(reply.status), reason: said || `the service answered ${reply.status}` };
    } catch {
      if (this.control.signal.aborted) return { ...told, status: LATE, reason: "no answer in time" };
      return { ...told, status: OFFLINE, reason: "the page's own server cannot be reached" };
    } finally {
      clearTimeout(timer);
    }
  }
}

function statusOf(code) {
  if (code === 504) return LATE;
  return REFUSING.includes(code) ? REFUSED : OFFLINE;
}

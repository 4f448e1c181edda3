/** The page's end of worker.js. */
import { Problem } from "./problem.js";

// What is wrong with a file or its answers; the runtime is as good as before.
const HARMLESS = new Set([
  ...["noModel", "noMetadata", "badMetadata", "newerMetadata"],
  ...["badInput", "badOutput", "noNumbers", "notOnGpu"],
]);
const LOST = "lost"; // a question that went down with the worker

export class Client {
  #worker;
  #waiting = new Map();
  #asked = 0;
  #again; // reads the file that was opened last
  #lost = false; // whether the worker that had it is gone
  #reopening;
  #accelerator = "fastest";

  /**
   * Open a .tflite file.
   *
   * @param {Uint8Array} bytes handed over.
   * @param {() => Promise<Uint8Array>} again reads them once more, should the worker be lost.
   * @param {string} accelerator see `open` in runtime.js.
   * @returns {Promise<object>} its description, and the setup where it runs.
   * @throws {Problem}
   */
  async open(bytes, again, accelerator = this.#accelerator) {
    this.#again = again;
    this.#lost = false;
    try {
      return await this.#ask({ bytes, accelerator }, [bytes.buffer]);
    } catch (error) {
      // A GPU can bring the runtime down: not tried twice.
      const byGpu = accelerator === "fastest" && navigator.gpu && !HARMLESS.has(error.key);
      if (byGpu) this.#accelerator = "CPU";
      // Or another file took the worker with it while this one waited.
      if (error !== LOST && !byGpu) throw error;
      const copy = await again();
      if (again !== this.#again) throw new Problem("unexpected", { reason: LOST });
      this.#lost = false;
      const question = { bytes: copy, accelerator: byGpu ? "CPU" : accelerator };
      return withProblem(this.#ask(question, [copy.buffer]));
    }
  }

  /** Milliseconds of one run of the network that is open, on noise. */
  time() {
    return withProblem(this.#ask({ timed: true }));
  }

  /** End the worker. */
  close() {
    this.#dismiss(this.#worker);
  }

  /**
   * Answer to a picture: see `run` in runtime.js.
   *
   * @param {ImageData | VideoFrame | ImageBitmap} picture handed over.
   * @throws {Problem} of this picture; the next one finds the file open again.
   */
  async run(picture) {
    try {
      if (this.#lost) await (this.#reopening ??= this.#reopen());
    } catch (error) {
      picture.close?.();
      throw error;
    }
    if (!(picture instanceof ImageData)) return withProblem(this.#ask({ frame: picture }, [picture]));
    const { data, width, height } = picture;
    return withProblem(this.#ask({ picture: { data, width, height } }, [data.buffer]));
  }

  async #reopen() {
    const again = this.#again;
    try {
      const bytes = await again();
      if (again === this.#again) await this.open(bytes, again);
    } finally {
      this.#reopening = undefined;
    }
  }

  #ask(question, transferred = []) {
    this.#worker ??= this.#hire();
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, ...question }, transferred);
    });
  }

  #hire() {
    const worker = new Worker(new URL("worker.js", import.meta.url));
    worker.addEventListener("message", ({ data: { id, result, problem } }) => {
      const { resolve, reject } = this.#waiting.get(id) ?? {};
      if (!resolve) return undefined;
      this.#waiting.delete(id);
      if (!problem) return resolve(result);
      // What the runtime choked on may have left it unusable.
      if (!HARMLESS.has(problem.key)) this.#dismiss(worker);
      return reject(new Problem(problem.key, problem.values));
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      const reason = event.message || "worker.js";
      const [first] = this.#waiting.keys(); // the one that was at work
      this.#waiting.get(first)?.reject(new Problem("unexpected", { reason }));
      this.#waiting.delete(first);
      this.#dismiss(worker);
    });
    return worker;
  }

  #dismiss(worker) {
    if (!worker || this.#worker !== worker) return;
    worker.terminate();
    this.#worker = undefined;
    this.#lost = true;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(LOST);
  }
}

/** A question whose loss is the user's to know. */
function withProblem(asked) {
  return asked.catch((error) => {
    throw error === LOST ? new Problem("unexpected", { reason: LOST }) : error;
  });
}

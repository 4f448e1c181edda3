/** The page's end of worker.js. */
import { Problem } from "./problem.js";

export class Client {
  #worker;
  #waiting = new Map();
  #asked = 0;

  /** Open a .tflite file's bytes, which are handed over; its description. */
  open(bytes) {
    return this.#ask({ bytes }, [bytes.buffer]);
  }

  /** Answer to an ImageData, which is handed over; see `run` in runtime.js. */
  run({ data, width, height }) {
    return this.#ask({ picture: { data, width, height } }, [data.buffer]);
  }

  #ask(question, transferred) {
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
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (!problem) return resolve(result);
      // A file that the runtime choked on may have left it unusable.
      this.#dismiss(worker);
      return reject(new Problem(problem.key, problem.values));
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#dismiss(worker, event.message || "worker.js");
    });
    return worker;
  }

  #dismiss(worker, reason = "") {
    worker.terminate();
    if (this.#worker === worker) this.#worker = undefined;
    for (const { reject } of this.#waiting.values()) reject(new Problem("unexpected", { reason }));
    this.#waiting.clear();
  }
}

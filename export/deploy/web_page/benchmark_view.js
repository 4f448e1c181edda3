/** The benchmark's part of the page: a table that fills while files are timed, to be shared. */
import { selfTestText } from "./answers.js";
import { csv, measure, percentile } from "./benchmark.js";
import { Client } from "./client.js";
import { deviceName } from "./device.js";

const AT_MOST = 250; // milliseconds between updates of the screen; it must not cost what is measured
const FILE = "kerascnn-phone.csv";
const at = (id) => document.getElementById(id);

export class BenchmarkView {
  #page;
  #files;
  #runtime;
  #rows = [];
  #running = false;
  #stopped = ""; // why
  #shownAt = 0;

  /**
   * @param {object} page {language, tell}.
   * @param {() => object[]} files {name, fileName, sha256, read} of what can be timed.
   * @param {() => void} begin called before the first is.
   * @param {() => string} runtime name and version.
   */
  constructor(page, files, begin, runtime) {
    this.#page = page;
    this.#files = files;
    this.#runtime = runtime;
    at("measure").addEventListener("click", () => {
      if (this.#running) return this.#stop("stopped");
      begin();
      return this.#run();
    });
    at("share").addEventListener("click", () => this.#share());
    // Browsers slow down what nobody sees.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#stop("background");
    });
  }

  #stop(why) {
    this.#stopped ||= why;
  }

  async #run() {
    const client = new Client();
    this.#rows = [];
    this.#stopped = "";
    this.#show(true);
    at("times").tBodies[0].replaceChildren();
    at("benchmark-notes").replaceChildren();
    try {
      const gpu = await navigator.gpu?.requestAdapter().catch(() => null);
      const accelerators = gpu ? ["CPU", "WebGPU"] : ["CPU"];
      await measure(this.#files(), accelerators, client, {
        stopped: () => this.#stopped,
        progress: (share, name) => this.#progress(share, name),
        ready: (row) => this.#add(row),
      });
    } finally {
      client.close();
      this.#show(false);
      const { tell } = this.#page;
      at("benchmark-status").textContent = this.#stopped ? tell("stopped") : tell("measured");
    }
  }

  #show(running) {
    this.#running = running;
    at("measure").textContent = this.#page.tell(running ? "stop" : "measure");
    at("measuring").hidden = !running;
    at("share").hidden = running || !this.#rows.length;
  }

  #progress(share, name) {
    const now = performance.now();
    if (now - this.#shownAt < AT_MOST) return;
    this.#shownAt = now;
    at("measuring").value = share;
    at("benchmark-status").textContent = this.#page.tell("measuringOf", { name });
  }

  #add(row) {
    if (row.problem) {
      const { tell } = this.#page;
      const note = document.createElement("li");
      const reason = tell(`problems.${row.problem.key}`, row.problem.values);
      note.textContent = `${row.file.name}, ${row.accelerator}: ${reason}`;
      at("benchmark-notes").append(note);
      return;
    }
    this.#rows.push(row);
    this.#rows.sort((one, other) => one.place - other.place);
    at("times").tBodies[0].replaceChildren(...this.#rows.map((each) => this.#line(each)));
  }

  #line(row) {
    const { tell, language } = this.#page;
    const rounded = (value, more) =>
      value.toLocaleString(language, { maximumSignificantDigits: 3, ...more });
    const { setup, times, bytes } = row;
    const place =
      setup.accelerator === "CPU" ? tell("onCpu", { threads: setup.threads }) : setup.accelerator;
    const line = document.createElement("tr");
    const name = line.insertCell();
    name.append(row.file.name, Object.assign(document.createElement("small"), { textContent: place }));
    for (const text of [
      `${rounded(bytes / 1e6)} MB`,
      `${rounded(percentile(times, 0.5))} ms`,
      `${rounded(percentile(times, 0.95))} ms`,
      selfTestText(this.#page, setup.selfTests?.[setup.accelerator]) || "–",
    ]) {
      line.insertCell().textContent = text;
    }
    return line;
  }

  async #share() {
    const text = csv(this.#rows, { ...(await deviceName()), runtime: this.#runtime() });
    const file = new File([text], FILE, { type: "text/csv" });
    if (navigator.canShare?.({ files: [file] })) {
      // Whoever thinks better of it has seen it.
      await navigator.share({ files: [file] }).catch(() => undefined);
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = FILE;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}

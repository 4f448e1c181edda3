/** Times of files, side by side: what is measured, and the table that `kerascnn compare` reads. */
import { Problem } from "./problem.js";

const WARM_UP = 1000; // milliseconds before each round's first time that counts
const MEASURED = 5000; // milliseconds of times a file, in all rounds together
const ROUNDS = 2; // so that what slows the phone down meanwhile meets all files alike
const LONGEST = 80; // letters of a name, as many as the reader takes
const DIGITS = 6;

/** Those of export/report/device_results.py that a browser can know, and of the Android demo. */
export const COLUMNS = [
  ...["run", "model", "variant", "format", "bytes", "metric", "value", "latency_ms"],
  ...["latency_p95_ms", "threads", "sha256", "device", "android", "accelerator", "pictures", "file"],
  ...["latency_p90_ms", "latency_p99_ms", "init_ms", "runs", "rounds", "ended"],
  ...["accelerator_used", "runtime", "selftest"],
];

/**
 * Time files on noise of the network's own size, in rounds whose order is drawn.
 *
 * @param {object[]} files {name, read}, where `read` gives the bytes.
 * @param {string[]} accelerators of `open` in runtime.js, on each of which every file is timed.
 * @param {Client} client whose file changes.
 * @param {object} watch {stopped(), progress(share, name), ready(row)}: `stopped` tells why, or "";
 *     a row is {place, file, accelerator, description, bytes, setup, times, rounds, ended, problem},
 *     and ready after its last round, with its problem, or, when all is stopped, with the whole
 *     rounds that it has.
 * @returns {Promise<void>}
 */
export async function measure(files, accelerators, client, { stopped, progress, ready }) {
  const rows = files.flatMap((file) =>
    accelerators.map((accelerator) => ({
      ...{ file, accelerator, times: [], rounds: 0, ended: "", problem: undefined },
    })),
  );
  rows.forEach((row, place) => (row.place = place));
  const steps = rows.length * ROUNDS;
  for (let round = 0; round < ROUNDS; round++) {
    const order = shuffled(rows);
    for (const [place, row] of order.entries()) {
      if (row.problem || stopped()) continue;
      const tell = (share) =>
        progress((round * rows.length + place + share) / steps, row.file.name);
      try {
        await timeOne(row, client, stopped, tell);
      } catch (error) {
        row.problem = error instanceof Problem ? error : new Problem("unexpected", reasonOf(error));
      }
      if (row.problem || row.rounds === ROUNDS) ready(row);
    }
  }
  for (const row of rows) {
    if (row.problem || !row.rounds || row.rounds === ROUNDS) continue;
    row.ended = stopped();
    ready(row);
  }
}

function reasonOf(error) {
  return { reason: error.message };
}

async function timeOne(row, client, stopped, tell) {
  const bytes = await row.file.read();
  row.bytes = bytes.byteLength;
  const { description, setup } = await client.open(bytes, row.file.read, row.accelerator);
  // The first opening is what a user waits for; the second one finds shaders in their cache.
  row.setup ??= setup;
  row.description = description;
  const length = MEASURED / ROUNDS;
  const times = [];
  const begin = performance.now();
  for (let now = 0; now < WARM_UP + length; now = performance.now() - begin) {
    if (stopped()) return; // what is broken off does not count
    const time = await client.time();
    if (performance.now() - begin > WARM_UP) times.push(time);
    tell(Math.min(1, now / (WARM_UP + length)));
  }
  row.times.push(...times);
  row.rounds++;
}

function shuffled(list) {
  const made = [...list];
  for (let last = made.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [made[last], made[other]] = [made[other], made[last]];
  }
  return made;
}

/** What so large a share of values is not above, interpolated as NumPy's percentile. */
export function percentile(values, share) {
  const sorted = Float64Array.from(values).sort();
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

/**
 * The table as text: a line of column names, then one a row.
 *
 * @param {object[]} rows of `measure`, those without a problem.
 * @param {{device: string, android: string, runtime: string}} place of device.js, and the runtime.
 * @returns {string}
 */
export function csv(rows, place) {
  const lines = rows.map((row) => {
    const cells = cellsOf(row, place);
    return COLUMNS.map((name) => quoted(cells[name] ?? ""));
  });
  return [COLUMNS, ...lines].map((line) => `${line.join(",")}\n`).join("");
}

function cellsOf(row, place) {
  const { file, accelerator, bytes, description, setup, times } = row;
  const [p50, p90, p95, p99] = [0.5, 0.9, 0.95, 0.99].map((share) =>
    number(percentile(times, share)),
  );
  const names = { model: description.model, variant: description.variant, file: file.fileName };
  return {
    ...Object.fromEntries(Object.entries({ ...names, ...place }).map(([k, v]) => [k, name(v)])),
    format: "tflite",
    bytes: String(bytes),
    latency_ms: p50,
    latency_p90_ms: p90,
    latency_p95_ms: p95,
    latency_p99_ms: p99,
    init_ms: number(setup.milliseconds),
    runs: String(times.length),
    rounds: `${row.rounds}/${ROUNDS}`,
    ended: row.ended,
    threads: String(setup.threads),
    sha256: file.sha256 ?? "",
    accelerator,
    accelerator_used: setup.accelerator,
    selftest: selfTest(setup.selfTests?.[setup.accelerator]),
  };
}

/** The same in every language, without an exponent. */
function number(value) {
  return String(Number(value.toPrecision(DIGITS)));
}

/** As the Android demo writes it: "verified", or "differs by 3.2%". */
function selfTest(found) {
  if (!found || found.verified) return found ? "verified" : "";
  const percent = 100 * found.difference;
  return Number.isFinite(percent) ? `differs by ${Number(percent.toPrecision(2))}%` : "differs";
}

/** In one line, without what cannot be seen; never something for a sheet to work out. */
function name(text = "") {
  const seen = text.replace(/[\s\p{Cc}\p{Cf}]+/gu, " ").trim();
  const short = [...seen].slice(0, LONGEST - 1).join("");
  return /^[=+\-@]/.test(short) ? `'${short}` : short;
}

function quoted(cell) {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

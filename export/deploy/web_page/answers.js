/** Answers, times and facts as rows of text. `page` is {language, tell(path, values)}. */
import { largest, VOID } from "./decode.js";
import { isBare, lookOf, shareOf } from "./map_looks.js";
import { colourOf } from "./palette.js";

const TOP = 5; // labels of a classifier
const SWATCH = 32; // pixels

/** The likeliest labels of a classifier. */
export function showLabels(list, page, { labels }, probabilities) {
  const rows = largest(probabilities, TOP).map((label) => {
    const below = document.createElement("progress");
    below.value = probabilities[label];
    below.setAttribute("aria-hidden", "true"); // the figure says it
    return { name: labels[label], share: probabilities[label], below };
  });
  fill(list, page, rows);
}

/** All labels whose scores reach the threshold. */
export function showScores(list, page, { labels }, { scores, threshold }) {
  const sure = largest(scores, scores.length).filter((label) => scores[label] >= threshold);
  const rows = sure.map((label) => ({ name: labels[label], share: scores[label] }));
  fill(list, page, rows);
}

/** The objects of a detector. */
export function showObjects(list, page, { labels }, objects) {
  const rows = objects.map(({ label, score, box }) => {
    const mark = swatch((context) => {
      context.fillStyle = colourOf(label);
      context.fillRect(0, 0, SWATCH, SWATCH);
    });
    return { mark, name: labels[label], share: score, box };
  });
  fill(list, page, rows);
}

/** The classes of a label map: its legend. */
export function showAreas(list, page, { labels, decoding }, areas) {
  const all = areas.reduce((sum, { pixels }) => sum + pixels, 0);
  const rows = areas.map(({ label, pixels }) => ({
    mark: swatch((context) => paintLook(context, label, labels, decoding.palette)),
    name: label === VOID ? page.tell("notCounted") : labels[label],
    share: pixels / all,
  }));
  fill(list, page, rows);
}

/** Medians of times, in one line. */
export function timesText(page, times, filming) {
  const median = (name) => {
    const values = times.map((one) => one[name]).sort((a, b) => a - b);
    return values[values.length >> 1];
  };
  const rounded = (value) => value.toLocaleString(page.language, { maximumSignificantDigits: 3 });
  const [network, picture] = [rounded(median("network")), rounded(median("picture"))];
  const parts = [page.tell("milliseconds", { network, picture })];
  if (filming) parts.push(page.tell("rate", { rate: rounded(1000 / median("all")) }));
  return parts.join(" · ");
}

/** What a file says of itself; where it runs; whether it does without network, once that is known. */
export function showFacts(list, page, description, { bytes, setup, offline }) {
  const { input } = description;
  const megabytes = (bytes / 1e6).toLocaleString(page.language, { maximumSignificantDigits: 3 });
  const facts = {
    description: description.description,
    task: page.tell(`tasks.${description.task}`),
    model: description.model,
    variant: description.variant,
    input: `${input.width}×${input.height}×${input.channels}, ${input.type}`,
    labels: description.labels.length,
    bytes: `${megabytes} MB`,
    author: description.author,
    license: description.license,
    version: description.version,
    runs: runsText(page, setup),
    offline: offline === undefined ? "" : offline ? page.tell("kept") : page.tell("notOffline"),
  };
  const rows = Object.entries(facts)
    .filter(([, fact]) => fact)
    .flatMap(([key, fact]) => [
      Object.assign(document.createElement("dt"), { textContent: page.tell(`fields.${key}`) }),
      Object.assign(document.createElement("dd"), { textContent: fact }),
    ]);
  list.replaceChildren(...rows);
}

/** "verified", or by how much it differs, of one accelerator; empty where no self-test was run. */
export function selfTestText(page, found) {
  if (!found) return "";
  const { difference, tolerance, verified } = found;
  if (difference === Infinity) return page.tell("selfTestBroken");
  const share = (value) =>
    value.toLocaleString(page.language, { style: "percent", maximumSignificantDigits: 2 });
  if (verified) return page.tell("selfTestVerified");
  return page.tell("selfTestDiffers", { difference: share(difference), most: share(tolerance) });
}

/**
 * Show what came of a file's self-test, of every accelerator that was tried.
 *
 * @param {HTMLElement} line
 * @param {object} setup of worker.js.
 * @param {object} description of the file.
 */
export function showSelfTest(line, page, setup, description) {
  const tried = Object.entries(setup.selfTests ?? {});
  const texts = tried.map(([where, found]) => `${where}: ${selfTestText(page, found)}`);
  const none = description.selftest ? "" : page.tell("selfTestNone");
  line.textContent = `${page.tell("selfTest")}: ${texts.join(" · ") || none}`;
  line.classList.toggle("differs", tried.some(([, found]) => !found.verified));
  line.hidden = false;
}

/** Where a network runs, and by which measurement that was chosen. */
function runsText(page, { accelerator, threads, compared }) {
  const place = accelerator === "CPU" ? page.tell("onCpu", { threads }) : accelerator;
  if (!compared?.WebGPU || !compared.CPU) return place;
  const rounded = (value) => value.toLocaleString(page.language, { maximumSignificantDigits: 3 });
  return page.tell("compared", { place, cpu: rounded(compared.CPU), gpu: rounded(compared.WebGPU) });
}

/** The numbers behind what is shown are in each row's data. */
function fill(list, page, rows) {
  const made = rows.map(({ mark, name, share, box, below }) => {
    const row = document.createElement("li");
    Object.assign(row.dataset, { label: name, share });
    if (box) row.dataset.box = box.join(" ");
    const figure = share.toLocaleString(page.language, {
      style: "percent",
      minimumFractionDigits: 1,
      maximumFractionDigits: 1,
    });
    row.append(mark ?? "", span("name", name), span("share", figure), below ?? "");
    return row;
  });
  const nothing = document.createElement("li");
  nothing.textContent = page.tell("nothing");
  list.replaceChildren(...(made.length ? made : [nothing]));
}

function span(className, textContent) {
  return Object.assign(document.createElement("span"), { className, textContent });
}

function swatch(paint) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SWATCH;
  paint(canvas.getContext("2d"));
  return canvas;
}

function paintLook(context, label, labels, palette) {
  if (isBare(label, labels)) return;
  const { colour, look } = lookOf(label, labels, palette);
  const image = context.createImageData(SWATCH, SWATCH);
  for (let i = 0; i < SWATCH * SWATCH; i++) {
    const share = shareOf(look, Math.floor(i / SWATCH), i % SWATCH, SWATCH / 4);
    image.data.set([...colour, Math.round(255 * share)], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

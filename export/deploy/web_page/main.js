/** The page: what is chosen, what is asked of the network, and where answers go. */
import {
  showAreas,
  showFacts,
  showLabels,
  showObjects,
  showScores,
  showSelfTest,
  timesText,
} from "./answers.js";
import { BenchmarkView } from "./benchmark_view.js";
import { Client } from "./client.js";
import { drawBoxes, drawMap } from "./draw.js";
import { keepOffline } from "./offline.js";
import { Camera, pixels, readPicture } from "./pictures.js";
import { Problem } from "./problem.js";
import { chosenLanguage, text } from "./texts.js";

const REMEMBERED = 15; // frames that the shown times are the median of

const language = chosenLanguage(navigator.languages ?? [navigator.language]);
const tell = (path, values) => text(language, path, values);
const page = { language, tell };
const at = (id) => document.getElementById(id);
const client = new Client();
const camera = new Camera(at("video"));
const ownFiles = new Map(); // File by the value of its entry in the picker

let description; // of the model, once it is open
let picture; // canvas of a still picture
let starting = false; // the camera, until it gives pictures
let filming = false;
let last; // {answer, size}
let times = [];
let runtimeName = "LiteRT.js";
// Whatever arrives for an earlier number is late, and dropped.
let opened = 0;
let asked = 0;

// ---------------------------------------------------------------- choosing

async function openChosen() {
  const value = at("model").selectedOptions[0]?.value;
  if (value === undefined) return;
  const mine = ++opened;
  description = undefined;
  forget();
  at("about").hidden = at("selftest").hidden = true;
  at("status").textContent = tell("loading");
  await guarded(async () => {
    const again = () => read(value);
    const bytes = await again();
    const size = bytes.byteLength;
    const found = await client.open(bytes, again).catch((error) => {
      if (mine === opened) throw error;
    });
    if (mine !== opened) return;
    description = found.description;
    const facts = { bytes: size, setup: found.setup };
    showFacts(at("facts"), page, description, facts);
    showSelfTest(at("selftest"), page, found.setup, description);
    at("about").hidden = false;
    keepOffline([...found.setup.files, ...(ownFiles.has(value) ? [] : [addressOf(value)])]).then(
      (offline) => mine === opened && showFacts(at("facts"), page, description, { ...facts, offline }),
    );
    at("lowest").hidden = description.task !== "detection";
    at("status").textContent = "";
    await (filming ? film() : look());
  });
}

function addressOf(file) {
  return new URL(file, document.baseURI).href;
}

async function read(value) {
  if (ownFiles.has(value)) return new Uint8Array(await ownFiles.get(value).arrayBuffer());
  const response = await fetch(value).catch(() => undefined);
  if (!response && !navigator.onLine) throw new Problem("notKept");
  if (!response?.ok) throw new Problem("noFile", { file: value });
  return new Uint8Array(await response.arrayBuffer());
}

async function fillPicker() {
  const response = await fetch("models.json", { cache: "no-cache" }).catch((error) => ({
    statusText: error.message,
  }));
  if (!response.ok) throw new Problem("noList", { reason: response.status || response.statusText });
  const { models, runtime } = await response.json();
  runtimeName = runtime;
  for (const { name, file, sha256 } of models) {
    const option = new Option(name, file);
    option.dataset.sha256 = sha256;
    at("model").add(option);
  }
}

/** All models of the picker, for the benchmark. */
function benchmarked() {
  return [...at("model").options].map(({ text: name, value, dataset: { sha256 } }) => ({
    name,
    fileName: ownFiles.get(value)?.name ?? value.split("/").at(-1),
    sha256,
    read: () => read(value),
  }));
}

function openFile(file) {
  const value = `own ${ownFiles.size}`;
  ownFiles.set(value, file);
  at("model").add(new Option(file.name, value, false, true));
  return openChosen();
}

async function choosePicture(file) {
  stopFilming();
  await guarded(async () => {
    picture = await readPicture(file);
    forget();
    show(picture);
    await look();
  });
}

function take(files) {
  for (const file of files) {
    if (file.name.toLowerCase().endsWith(".tflite")) openFile(file);
    else choosePicture(file);
  }
}

// ---------------------------------------------------------------- asking

/** The answer, or nothing where something else is asked by then. */
async function ask(frame) {
  const mine = ++asked;
  const begin = performance.now();
  try {
    const { answer, size, milliseconds } = await client.run(frame);
    if (mine !== asked) return undefined;
    return { answer, size, milliseconds: { ...milliseconds, all: performance.now() - begin } };
  } catch (error) {
    if (mine !== asked) return undefined;
    throw error;
  }
}

async function look() {
  if (!description || !picture) return;
  at("status").textContent = tell("working");
  present(await ask(pixels(picture)));
}

/** Answer to one frame after the other, until something else is chosen. */
async function film() {
  let found = true;
  while (found && filming && description) {
    const frame = await camera.frame();
    if (!filming) return frame.close?.();
    found = await ask(frame);
    present(found);
    // Not more often than the screen shows frames.
    await new Promise(requestAnimationFrame);
  }
  return undefined;
}

/** A tap while the camera starts stops it. */
function startOrStopFilming() {
  if (filming || starting) return stopFilming();
  starting = true;
  at("camera").querySelector("span").textContent = tell("stop");
  return guarded(async () => {
    if (!(await camera.start())) return;
    starting = false;
    filming = true;
    picture = undefined;
    forget();
    at("found").setAttribute("aria-live", "off"); // too fast to be read out
    show(at("video"));
    await film();
  });
}

function stopFilming() {
  if (!filming && !starting) return;
  const shown = filming;
  starting = filming = false;
  camera.stop();
  at("camera").querySelector("span").textContent = tell("camera");
  if (!shown) return; // a picture may be there still
  at("found").setAttribute("aria-live", "polite");
  show(undefined);
  forget();
}

/** Tell of what goes wrong. */
async function guarded(work) {
  at("problem").hidden = true;
  try {
    await work();
  } catch (error) {
    const known = error instanceof Problem;
    if (!known) console.error(error);
    stopFilming();
    at("status").textContent = "";
    const { key, values } = known
      ? error
      : { key: "unexpected", values: { reason: error.message } };
    at("problem").textContent = tell(`problems.${key}`, values);
    at("problem").hidden = false;
  }
}

// ---------------------------------------------------------------- showing

/** Show the video, a canvas, or nothing. */
function show(element) {
  for (const id of ["video", "shown", "drawn"]) at(id).hidden = true;
  at("hint").hidden = Boolean(element);
  if (!element) return;
  const shown = element === at("video") ? element : at("shown");
  shown.hidden = at("drawn").hidden = false;
  if (shown === element) return;
  [shown.width, shown.height] = [element.width, element.height];
  shown.getContext("2d").drawImage(element, 0, 0);
}

function present(found) {
  if (!found) return;
  last = found;
  times = [...times, found.milliseconds].slice(-REMEMBERED);
  at("status").textContent = timesText(page, times, filming);
  draw();
}

function draw() {
  const [canvas, shown] = [at("drawn"), filming ? at("video") : at("shown")];
  if (!last || shown.hidden) return;
  const { answer, size } = last;
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: wide, clientHeight: high } = shown;
  [canvas.width, canvas.height] = [Math.round(wide * scale), Math.round(high * scale)];
  [canvas.style.width, canvas.style.height] = [`${wide}px`, `${high}px`];
  if (answer.kind === "labels") {
    showLabels(at("answers"), page, description, answer.probabilities);
  } else if (answer.kind === "scores") {
    showScores(at("answers"), page, description, answer);
  } else if (answer.kind === "boxes") {
    const sure = answer.objects.filter(({ score }) => score >= Number(at("score").value));
    drawBoxes(canvas, sure, description.labels, scale);
    showObjects(at("answers"), page, description, sure);
  } else {
    drawMap(canvas, answer, size, description);
    showAreas(at("answers"), page, description, answer.areas);
  }
}

/** Of answers nothing is left. */
function forget() {
  asked++;
  last = undefined;
  times = [];
  at("answers").replaceChildren();
  at("status").textContent = "";
  const canvas = at("drawn");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

function showLowest() {
  const { value } = at("score");
  at("lowest-score").textContent = Number(value).toLocaleString(language, { style: "percent" });
}

// ---------------------------------------------------------------- beginning

function translate() {
  document.documentElement.lang = language;
  const each = (name, set) => {
    for (const element of document.querySelectorAll(`[data-${name}]`)) {
      set(element, tell(element.dataset[name]));
    }
  };
  each("text", (element, text) => (element.textContent = text));
  each("aria", (element, text) => element.setAttribute("aria-label", text));
  each("title", (element, text) => (element.title = text));
}

function listen() {
  at("model").addEventListener("change", openChosen);
  for (const id of ["file", "picture", "photo"]) {
    at(id).addEventListener("change", ({ target }) => {
      take([...target.files]);
      target.value = ""; // the same file may be chosen again
    });
  }
  at("camera").addEventListener("click", startOrStopFilming);
  at("score").addEventListener("input", () => {
    showLowest();
    draw();
  });
  window.addEventListener("resize", draw);
  new BenchmarkView(page, benchmarked, stopFilming, () => runtimeName);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    at("stage").classList.add("dropping");
  });
  document.addEventListener("dragleave", () => at("stage").classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    at("stage").classList.remove("dropping");
    take([...event.dataTransfer.files]);
  });
}

translate();
showLowest();
listen();
await guarded(async () => {
  await fillPicker();
  // Whoever was faster than the list has a model already.
  if (!opened) await openChosen();
});

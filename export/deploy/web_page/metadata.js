/**
 * What an exported file says of itself: kerascnn.json, stored in the zip behind the model.
 *
 * Files come from anywhere, so every number that is used later is looked at here.
 */
import { checkDetector } from "./detector_metadata.js";
import { Problem } from "./problem.js";
import { checkSelfTest } from "./selftest.js";

const DESCRIPTION = "kerascnn.json";
const FORMAT = 1;
export const RAW = "raw bytes";
const NORMALISED = "(byte - mean) / std";
const LARGEST_SIDE = 4096; // pixels of a network's input
// Shown, or put into a table.
const TEXTS = ["model", "variant", "name", "description", "author", "license", "version"];
const RESIZES = ["stretch", "crop", "pad", "centre", "letterbox"];
const KINDS = {
  classification: ["logits", "probabilities"],
  multilabel: ["sigmoid", "scores"],
  detection: ["detections", "codes"],
  segmentation: ["map", "map_logits"],
};

/**
 * Describe a .tflite file.
 *
 * @param {Uint8Array} bytes the whole file.
 * @returns {object} kerascnn.json, with `input.mean` and `input.std` of one number a channel (but
 *     for raw bytes), and `input.order`, `input.resize`, `input.crop_fraction` and
 *     `input.interpolation` always there; `selftest` only if this page knows its formula.
 * @throws {Problem} no model, no description of itself, or one that makes no sense.
 */
export function describe(bytes) {
  if (String.fromCharCode(...bytes.subarray(4, 8)) !== "TFL3") throw new Problem("noModel");
  const stored = entries(bytes);
  if (!stored.has(DESCRIPTION)) throw new Problem("noMetadata");
  let metadata;
  try {
    metadata = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(stored.get(DESCRIPTION)));
  } catch {
    throw new Problem("badMetadata", { field: DESCRIPTION });
  }
  if (metadata?.format > FORMAT) throw new Problem("newerMetadata", { format: metadata.format });
  return checked(metadata);
}

/**
 * The stored entries of a zip at the end of a file; what lies before it does not matter.
 *
 * @param {Uint8Array} bytes
 * @returns {Map<string, Uint8Array>} none where there is no zip.
 * @throws {Problem} a zip that is cut off or compressed.
 */
export function entries(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = endOfZip(view);
  const found = new Map();
  if (end < 0) return found;
  const count = view.getUint16(end + 10, true);
  const size = view.getUint32(end + 12, true);
  let at = end - size;
  // Offsets count from the zip's beginning or from the file's, by who wrote it.
  const shift = at - view.getUint32(end + 16, true);
  try {
    for (let i = 0; i < count; i++) {
      if (view.getUint32(at, true) !== 0x02014b50) throw new RangeError("no entry");
      const [nameLength, extra, comment] = [28, 30, 32].map((o) => view.getUint16(at + o, true));
      const length = view.getUint32(at + 24, true);
      const header = view.getUint32(at + 42, true) + shift;
      if (view.getUint16(at + 10, true) !== 0) throw new RangeError("compressed");
      const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
      const begin =
        header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
      if (begin + length > end) throw new RangeError("cut off");
      found.set(name, bytes.subarray(begin, begin + length));
      at += 46 + nameLength + extra + comment;
    }
  } catch (error) {
    if (error instanceof RangeError) throw new Problem("badMetadata", { field: "zip" });
    throw error;
  }
  return found;
}

function endOfZip(view) {
  const last = view.byteLength - 22;
  for (let at = last; at >= Math.max(0, last - 0xffff); at--) {
    const here = view.getUint32(at, true) === 0x06054b50;
    if (here && at + 22 + view.getUint16(at + 20, true) === view.byteLength) return at;
  }
  return -1;
}

function checked(metadata) {
  const demand = (fine, field) => {
    if (!fine) throw new Problem("badMetadata", { field });
  };
  demand(metadata && typeof metadata === "object" && metadata.format === FORMAT, "format");
  demand(Object.hasOwn(KINDS, metadata.task), "task");
  demand(
    isList(metadata.labels, (label) => typeof label === "string"),
    "labels",
  );
  for (const name of TEXTS) demand(typeof (metadata[name] ?? "") === "string", name);
  demand(KINDS[metadata.task].includes(metadata.decoding?.kind), "decoding");
  if (metadata.decoding.kind === "codes") checkDetector(metadata.decoding);
  const missing = { order: "rgb", resize: "stretch", crop_fraction: 0.875 };
  const input = { ...missing, interpolation: "bilinear", ...metadata.input };
  for (const side of ["height", "width"]) {
    demand(Number.isInteger(input[side]) && input[side] > 0, `input.${side}`);
    demand(input[side] <= LARGEST_SIDE, `input.${side}`);
  }
  demand(input.channels === 1 || input.channels === 3, "input.channels");
  demand(["float32", "uint8"].includes(input.type), "input.type");
  demand([RAW, NORMALISED].includes(input.values), "input.values");
  demand(input.values === RAW || input.type === "float32", "input.values");
  demand(["rgb", "bgr"].includes(input.order), "input.order");
  demand(RESIZES.includes(input.resize), "input.resize");
  demand(["bilinear", "bicubic"].includes(input.interpolation), "input.interpolation");
  // What lies outside of a cropped picture would never be found.
  const cropped = ["crop", "centre"].includes(input.resize);
  demand(!cropped || ["classification", "multilabel"].includes(metadata.task), "input.resize");
  demand(isNumber(input.crop_fraction), "input.crop_fraction");
  demand(input.crop_fraction > 0 && input.crop_fraction <= 1, "input.crop_fraction");
  for (const name of input.values === RAW ? [] : ["mean", "std"]) {
    const values = [input[name]].flat();
    input[name] = values.length === 1 ? Array(input.channels).fill(values[0]) : values;
    demand(input[name].length === input.channels, `input.${name}`);
    demand(input[name].every(isNumber), `input.${name}`);
  }
  const divides = (value) => Math.fround(value) > 0;
  demand(input.values === RAW || input.std.every(divides), "input.std");
  const { palette, threshold } = metadata.decoding;
  const share = typeof threshold === "number" && threshold >= 0 && threshold <= 1;
  const thresholded = ["sigmoid", "scores"].includes(metadata.decoding.kind);
  demand(!thresholded || share, "decoding.threshold");
  const colours = palette && isList(palette, (one) => isList(one, isByte) && one.length === 3);
  demand(!palette || (colours && palette.length === metadata.labels.length), "decoding.palette");
  return { ...metadata, input, selftest: checkSelfTest(metadata.selftest) };
}

/** As 32 bits hold it, too. */
function isNumber(value) {
  return Number.isFinite(value) && Number.isFinite(Math.fround(value));
}

function isByte(value) {
  return Number.isInteger(value) && value >= 0 && value <= 255;
}

function isList(value, fine) {
  return Array.isArray(value) && value.length > 0 && value.every(fine);
}

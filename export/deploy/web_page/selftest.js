/**
 * The self-test inside a file: what it answered to the test image where it was written.
 *
 * Fields, and what a difference is, are those of export/artefacts/selftest.py; what is refused here is
 * refused there and by the Android demo.
 */
import { Problem } from "./problem.js";
import { hash } from "./test_image.js";

const EDITION = 1;
const KINDS = { numbers: checkNumbers, map: checkMap, detections: checkDetections };
const SCORES = 12; // of detections, the best, that are compared
const SAME_BOX = 0.4;
const EQUAL_BOX = 0.9;
const ROUNDING = 1e-5; // of what is stored
const [MOST_OUTPUTS, MOST_VALUES, MOST_SIZE, MOST_CLASS] = [8, 256, 2 ** 31 - 1, 65535];
const [LONGEST_RUNTIME, LARGEST] = [80, 1e30];

/**
 * Look at the self-test of a description.
 *
 * @param {unknown} selftest
 * @returns {object | undefined} none where there is none, or one by a later formula.
 * @throws {Problem} what makes no sense.
 */
export function checkSelfTest(selftest) {
  if (selftest === undefined || selftest === null) return undefined;
  demand(isObject(selftest), "selftest");
  demand(isWhole(selftest.edition, 1), "selftest.edition");
  if (selftest.edition > EDITION) return undefined;
  const { runtime } = selftest;
  demand(typeof runtime === "string" && [...runtime].length <= LONGEST_RUNTIME, "selftest.runtime");
  for (const name of ["tolerance", "half"]) {
    demand(isShare(selftest[name]) && selftest[name] > 0, `selftest.${name}`);
  }
  demand(!Object.hasOwn(selftest, "float") || isNumber(selftest.float), "selftest.float");
  const there = Object.keys(KINDS).filter((name) => Object.hasOwn(selftest, name));
  demand(there.length === 1, "selftest");
  KINDS[there[0]](selftest[there[0]]);
  return selftest;
}

function checkNumbers(expected) {
  const field = "selftest.numbers";
  demand(Array.isArray(expected) && expected.length > 0 && expected.length <= MOST_OUTPUTS, field);
  for (const one of expected) {
    demand(isObject(one) && typeof one.name === "string", field);
    demand(isWhole(one.size, 1), `${field}.size`);
    demand(isNumber(one.span) && one.span > 0, `${field}.span`);
    demand(isNumber(one.mean), `${field}.mean`);
    demand(isList(one.values, isNumber) && one.values.length <= one.size, `${field}.values`);
    const isPair = (pair) =>
      Array.isArray(pair) && pair.length === 2 && isWhole(pair[0], 0) && isNumber(pair[1]);
    demand(isList(one.top, isPair), `${field}.top`);
    demand(
      one.top.every(([place]) => place < one.size),
      `${field}.top`,
    );
  }
}

function checkMap(expected) {
  const field = "selftest.map";
  demand(isObject(expected) && typeof expected.name === "string", field);
  demand(isWhole(expected.size, 1), `${field}.size`);
  demand(isList(expected.classes, isClass), `${field}.classes`);
  demand(expected.classes.length <= expected.size, `${field}.classes`);
}

function checkDetections(expected) {
  const field = "selftest.detections";
  demand(isObject(expected), field);
  demand(isShare(expected.floor), `${field}.floor`);
  const none = Array.isArray(expected.scores) && expected.scores.length === 0;
  demand(none || isList(expected.scores, isShare), `${field}.scores`);
  if (none) return;
  demand(isClass(expected.label), `${field}.label`);
  demand(isList(expected.box, isNumber) && expected.box.length === 4, `${field}.box`);
  demand(!Object.hasOwn(expected, "mask") || isNumber(expected.mask), `${field}.mask`);
}

/**
 * Hold what the network answered to the test image against what the file says.
 *
 * @param {object} selftest of a description, checked.
 * @param {object} outputs {name: {data}}.
 * @param {boolean} half whether it was computed in half precision.
 * @returns {{difference: number, tolerance: number, verified: boolean}} the difference is infinite
 *     where answers are no numbers, or of another shape.
 */
export function compareSelfTest(selftest, outputs, half = false) {
  const tolerance = half ? Math.max(selftest.tolerance, selftest.half) : selftest.tolerance;
  let apart;
  if (selftest.numbers) apart = Math.max(...selftest.numbers.map((one) => ofNumbers(one, outputs)));
  else if (selftest.map) apart = ofMap(selftest.map, outputs);
  else apart = ofDetections(selftest.detections, outputs);
  const difference = Number.isFinite(apart) ? apart : Infinity;
  return { difference, tolerance, verified: difference <= tolerance };
}

/** An output's numbers; nothing of one that is not there, of another size, or no numbers. */
function found(outputs, name, size) {
  const data = Object.hasOwn(outputs, name) ? outputs[name].data : undefined;
  if (!data || (size !== undefined && data.length !== size)) return undefined;
  return data.every((value) => Number.isFinite(Number(value))) ? data : undefined;
}

function placeOf(k, size, count) {
  return size <= count ? k : hash(k) % size;
}

function ofNumbers({ name, size, span, mean, top, values }, outputs) {
  const data = found(outputs, name, size);
  if (!data) return Infinity;
  let apart = Math.abs(data.reduce((sum, value) => sum + value, 0) / size - mean);
  const look = (place, wanted) => (apart = Math.max(apart, Math.abs(data[place] - wanted)));
  values.forEach((wanted, k) => look(placeOf(k, size, values.length), wanted));
  for (const [place, wanted] of top) look(place, wanted);
  return apart / span;
}

function ofMap({ name, size, classes }, outputs) {
  const data = found(outputs, name, size);
  if (!data) return Infinity;
  const other = classes.filter((wanted, k) => data[placeOf(k, size, classes.length)] !== wanted);
  return other.length / classes.length;
}

function ofDetections(expected, outputs) {
  const [boxes, labels, scores, counts] = ["boxes", "labels", "scores", "count"].map((name) =>
    found(outputs, name),
  );
  if (!boxes || !labels || !scores || counts?.length !== 1) return Infinity;
  const count = Math.round(counts[0]);
  const fits = labels.length === scores.length && boxes.length === 4 * scores.length;
  if (!fits || count < 0 || count > scores.length) return Infinity;
  const apart = ofScores(expected, scores.slice(0, count));
  if (!expected.scores.length) return apart;
  let [overlap, best] = [0, -1];
  for (let place = 0; place < count; place++) {
    if (labels[place] !== expected.label) continue;
    const shared = overlapOf(boxes.slice(4 * place, 4 * place + 4), expected.box);
    if (shared > overlap || best < 0) [overlap, best] = [shared, place];
  }
  if (overlap < SAME_BOX) return Math.max(apart, 1 - overlap);
  if (expected.mask === undefined || overlap < EQUAL_BOX) return apart;
  const masks = found(outputs, "masks");
  if (!masks || masks.length % scores.length) return Infinity;
  const cells = masks.length / scores.length;
  const mask = masks.slice(best * cells, (best + 1) * cells);
  return Math.max(apart, Math.abs(mask.reduce((sum, one) => sum + one, 0) / cells - expected.mask));
}

/** Of scores, the best first; what is below the floor, or missing, counts as the floor. */
function ofScores({ floor, scores }, given) {
  const length = Math.max(scores.length, SCORES);
  const [wanted, there] = [scores, given].map((list) => {
    const sorted = Array.from(list).sort((a, b) => b - a);
    return Array.from({ length }, (_, k) => Math.max(sorted[k] ?? floor, floor));
  });
  return Math.max(...wanted.map((score, k) => Math.abs(score - there[k])));
}

/** Intersection over union; of equal boxes 1, also without an area. */
function overlapOf(one, other) {
  if (other.every((side, k) => Math.abs(side - one[k]) <= ROUNDING)) return 1;
  const area = (box) => Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
  const both = [0, 1, 2, 3].map((k) => (k < 2 ? Math.max : Math.min)(one[k], other[k]));
  const shared = area(both);
  return shared ? shared / (area(one) + area(other) - shared) : 0;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isList(values, fine) {
  return Array.isArray(values) && values.length > 0 && values.length <= MOST_VALUES && values.every(fine);
}

function isWhole(value, least, most = MOST_SIZE) {
  return Number.isInteger(value) && value >= least && value <= most;
}

function isClass(value) {
  return isWhole(value, 0, MOST_CLASS);
}

function isNumber(value) {
  return typeof value === "number" && Math.abs(value) <= LARGEST;
}

function isShare(value) {
  return isNumber(value) && value >= 0 && value <= 1;
}

function demand(fine, field) {
  if (!fine) throw new Problem("badMetadata", { field });
}

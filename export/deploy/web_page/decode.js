/**
 * From what a network gives to answers, by the "decoding" that its file tells.
 *
 * `outputs` is {name: {data, shape}}. A box is top, left, bottom and right as shares of a picture.
 */
import { placement } from "./preprocess.js";
import { Problem } from "./problem.js";
import { nearest, nearestPlaces } from "./resample.js";

export const VOID = 255; // of a label map: no class
const boxesOf = new WeakMap(); // of anchors that were asked for before
const THRESHOLD = 0.5; // probabilities above it are the object's

/**
 * Answers to a picture.
 *
 * @param {object} outputs
 * @param {object} description of metadata.js.
 * @param {{width: number, height: number}} size of the picture.
 * @returns {object} {kind: "labels", probabilities}, {kind: "scores", scores,
 *     threshold} with a score for each class on its own, {kind: "boxes", objects} with the best first,
 *     or {kind: "map", map, areas}, the map in the network's geometry.
 * @throws {Problem} outputs that are not what the description says.
 */
export function decode(outputs, description, size) {
  const { decoding, labels } = description;
  if (decoding.kind === "logits" || decoding.kind === "probabilities") {
    const { data } = named(outputs, decoding.kind, labels.length);
    const probabilities = decoding.kind === "logits" ? softmax(data) : Float64Array.from(data);
    if (probabilities.some(Number.isNaN)) throw new Problem("noNumbers");
    return { kind: "labels", probabilities };
  }
  if (decoding.kind === "sigmoid" || decoding.kind === "scores") {
    const inside = decoding.kind === "scores";
    const { data } = named(outputs, inside ? "scores" : "logits", labels.length);
    const scores = inside ? Float64Array.from(data) : sigmoid(data);
    if (scores.some(Number.isNaN)) throw new Problem("noNumbers");
    return { kind: "scores", scores, threshold: decoding.threshold };
  }
  if (decoding.kind === "map" || decoding.kind === "map_logits") {
    const map = classMap(outputs, description);
    return { kind: "map", map, areas: areasOnPicture(map, size, description.input) };
  }
  const found = decoding.kind === "codes" ? decoded(outputs, description) : given(outputs);
  for (const one of found) {
    const known = Number.isInteger(one.label) && one.label < labels.length;
    if (!known) throw new Problem("badOutput", { output: "labels" });
  }
  return { kind: "boxes", objects: found.map((one) => onPicture(one, size, description.input)) };
}

/** A detection whose box is in shares of the picture, with the mask of what is left of it. */
function onPicture(one, size, input) {
  const whole = unclipped(one.box, size, input);
  const box = whole.map(clipped);
  const over = one.mask && whole.some((side, i) => side !== box[i]);
  return { ...one, box, ...(over ? { mask: reframed(one.mask, whole, box) } : {}) };
}

/** Probabilities of logits. */
export function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** Scores from 0 to 1, each of its own logit. */
export function sigmoid(logits) {
  return Float64Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)));
}

/** Indices of the `count` largest values, the largest first. */
export function largest(values, count) {
  const order = Array.from(values, (_, index) => index);
  return order.sort((a, b) => values[b] - values[a]).slice(0, count);
}

function named(outputs, name, length) {
  const output = outputs[name];
  const broken = !output || (length !== undefined && output.data.length !== length);
  if (broken) throw new Problem("badOutput", { output: name });
  return output;
}

/** Detections of a file with post-processing inside. */
function given(outputs) {
  const [boxes, labels, scores, count] = ["boxes", "labels", "scores", "count"].map(
    (name) => named(outputs, name).data,
  );
  const most = Math.min(count[0], scores.length);
  if (boxes.length !== 4 * scores.length || labels.length !== scores.length) {
    throw new Problem("badOutput", { output: "boxes" });
  }
  const masks = outputs.masks;
  const found = [];
  for (let i = 0; i < most; i++) {
    const one = { box: [...boxes.subarray(4 * i, 4 * i + 4)], label: labels[i], score: scores[i] };
    if (masks) {
      const side = masks.shape.at(-1);
      one.mask = { side, data: masks.data.slice(i * side * side, (i + 1) * side * side) };
    }
    if ([...one.box, one.score].every(Number.isFinite) && one.label >= 0) found.push(one);
  }
  return found;
}

/** Detections of codes and scores; see kerascnn/detection/postprocess.py. */
function decoded(outputs, { decoding, labels }) {
  if (!boxesOf.has(decoding.anchors)) {
    boxesOf.set(decoding.anchors, anchorBoxes(decoding.anchors));
  }
  const anchors = boxesOf.get(decoding.anchors);
  const count = anchors.length / 4;
  const columns = labels.length + (decoding.background ? 1 : 0);
  const codes = named(outputs, "boxes", 4 * count).data;
  const scores = named(outputs, "scores", columns * count).data;
  if (codes.some(Number.isNaN) || scores.some(Number.isNaN)) throw new Problem("noNumbers");
  return select(decoding, codes, scores, anchors, labels.length);
}

/**
 * Suppress what overlaps with something better: class by class unless `spec.class_agnostic`, and by
 * lower scores where `spec.suppression` is "soft".
 *
 * @param {object} spec "decoding" of raw detectors.
 * @param {Float32Array} codes (a, 4).
 * @param {Float32Array} scores (a, c), or (a, c + 1) with a background in front.
 * @param {Float32Array} anchors (a, 4).
 * @param {number} classes
 * @returns {object[]} {box, label, score}, the best first, equal ones by label, then by anchor;
 *     boxes are clipped to the input after suppression, which compares whole boxes.
 */
export function select(spec, codes, scores, anchors, classes) {
  const every = spec.class_agnostic ? likeliestOfEach : allOfEach;
  const candidates = every(spec, scores, anchors.length / 4, classes);
  // The sort is stable: equal ones stay in this order.
  candidates.sort((a, b) => b.score - a.score).splice(spec.candidates);
  const decoded = ({ label, anchor, score }) => {
    return { box: decodedBox(codes, anchors, anchor, spec.box_scales), label, score };
  };
  const soft = spec.suppression === "soft";
  const kept = soft ? softened(spec, candidates.map(decoded)) : suppressed(spec, candidates, decoded);
  return kept.map((one) => ({ ...one, box: one.box.map((side) => Math.min(1, Math.max(0, side))) }));
}

/** Each anchor with each class, class by class. */
function allOfEach(spec, scores, count, classes) {
  const background = spec.background ? 1 : 0;
  const threshold = Math.fround(spec.score_threshold);
  const found = [];
  for (let label = 0; label < classes; label++) {
    for (let anchor = 0; anchor < count; anchor++) {
      const score = scores[anchor * (classes + background) + label + background];
      if (score >= threshold) found.push({ label, anchor, score }); // of millions, few
    }
  }
  return found;
}

/** Each anchor with the class of its highest score, of equal ones the first. */
function likeliestOfEach(spec, scores, count, classes) {
  const background = spec.background ? 1 : 0;
  const threshold = Math.fround(spec.score_threshold);
  const found = [];
  for (let anchor = 0; anchor < count; anchor++) {
    const begin = anchor * (classes + background) + background;
    const label = likeliest(scores, begin, classes);
    const score = scores[begin + label];
    if (score >= threshold) found.push({ label, anchor, score });
  }
  return found;
}

function suppressed(spec, candidates, decoded) {
  const most = Math.fround(spec.iou_threshold);
  const kept = [];
  for (const candidate of candidates) {
    if (kept.length === spec.max_detections) break;
    const one = decoded(candidate);
    const dropped = kept.some((other) => rivals(spec, other, one) && iou(other.box, one.box) > most);
    if (!dropped) kept.push(one);
  }
  return kept;
}

/** Soft-NMS (arXiv:1704.04503); see `soft_nms` of kerascnn/detection/nms.py. */
function softened(spec, candidates) {
  const [threshold, { soft_nms_sigma: sigma = 0.5 }] = [Math.fround(spec.score_threshold), spec];
  let left = candidates;
  const kept = [];
  while (left.length > 0 && kept.length < spec.max_detections) {
    const best = left.reduce((most, one) => (one.score > most.score ? one : most));
    kept.push(best);
    left = left.filter((one) => one !== best);
    for (const one of left) {
      if (!rivals(spec, best, one)) continue;
      const overlap = iou(best.box, one.box);
      // Of a box that is no number the overlap is none either.
      if (overlap > 0) one.score = Math.fround(one.score * Math.exp((-overlap * overlap) / sigma));
    }
    left = left.filter(({ score }) => score >= threshold);
  }
  return kept;
}

function rivals(spec, one, other) {
  return spec.class_agnostic || one.label === other.label;
}

/** (a, 4) of levels of cells; see kerascnn/detection/anchors.py. */
export function anchorBoxes({ levels }) {
  const count = levels.reduce((sum, one) => sum + one.rows * one.columns * one.sizes.length, 0);
  const made = new Float32Array(4 * count);
  let at = 0;
  for (const { rows, columns, sizes, offset = 0.5 } of levels) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const [y, x] = [(row + offset) / rows, (column + offset) / columns];
        for (const [height, width] of sizes) {
          made[at++] = y - height / 2;
          made[at++] = x - width / 2;
          made[at++] = y + height / 2;
          made[at++] = x + width / 2;
        }
      }
    }
  }
  return made;
}

function decodedBox(codes, anchors, index, scales) {
  const [dy, dx, dh, dw] = scales.map((scale, i) => codes[4 * index + i] / scale);
  const [top, left, bottom, right] = anchors.subarray(4 * index, 4 * index + 4);
  const [height, width] = [bottom - top, right - left];
  const y = dy * height + (top + bottom) / 2;
  const x = dx * width + (left + right) / 2;
  const [halfHeight, halfWidth] = [0.5 * Math.exp(dh) * height, 0.5 * Math.exp(dw) * width];
  return [y - halfHeight, x - halfWidth, y + halfHeight, x + halfWidth].map(Math.fround);
}

function area([top, left, bottom, right]) {
  return Math.max(0, bottom - top) * Math.max(0, right - left);
}

/** Intersection over union; a box without area overlaps with nothing. */
export function iou(one, other) {
  const shared = area([
    Math.max(one[0], other[0]),
    Math.max(one[1], other[1]),
    Math.min(one[2], other[2]),
    Math.min(one[3], other[3]),
  ]);
  const all = area(one) + area(other) - shared;
  return all ? shared / all : 0;
}

/** A box in shares of the input as shares of the picture, clipped to it. */
export function fromInput(box, size, input) {
  return unclipped(box, size, input).map(clipped);
}

function clipped(share) {
  return Math.min(1, Math.max(0, share));
}

function unclipped(box, size, input) {
  const place = placement(size, input);
  const sides = [
    [input.height, place.top, place.height],
    [input.width, place.left, place.width],
  ];
  return box.map((share, i) => {
    const [whole, begin, length] = sides[i % 2];
    return (share * whole - begin) / length;
  });
}

function classMap(outputs, { decoding, labels, input }) {
  const { data, shape } = named(outputs, decoding.kind === "map" ? "map" : "logits");
  const [height, width] = shape.slice(1, 3);
  const depth = decoding.kind === "map" ? 1 : labels.length;
  const fits = height <= input.height && width <= input.width;
  if (!fits || data.length !== height * width * depth) {
    throw new Problem("badOutput", { output: decoding.kind });
  }
  const map = new Uint8Array(height * width);
  for (let i = 0; i < map.length; i++) {
    map[i] = depth === 1 ? data[i] : likeliest(data, i * depth, depth);
    if (map[i] >= labels.length) throw new Problem("badOutput", { output: decoding.kind });
  }
  return { data: map, width, height, channels: 1 };
}

function likeliest(data, begin, count) {
  let best = 0;
  for (let i = 1; i < count; i++) if (data[begin + i] > data[begin + best]) best = i;
  return best;
}

/**
 * A label map on a picture; `VOID` where the network says nothing.
 *
 * @param {object} found (h', w') classes, a picture of one channel.
 * @param {{width: number, height: number}} size of the picture that the network saw.
 * @param {object} input of the description.
 * @param {{width: number, height: number}} shown the size that the map gets.
 */
export function mapOnPicture(found, size, input, shown = size) {
  return nearest(seenPart(found, size, input), shown.width, shown.height);
}

/**
 * How many pixels of the picture each class has, without a map of that size.
 *
 * @returns {{label: number, pixels: number}[]} the largest first.
 */
export function areasOnPicture(found, size, input) {
  const seen = seenPart(found, size, input);
  const [rows, columns] = [repeats(seen.height, size.height), repeats(seen.width, size.width)];
  const pixels = new Map();
  seen.data.forEach((label, i) => {
    const here = rows[Math.floor(i / seen.width)] * columns[i % seen.width];
    if (here) pixels.set(label, (pixels.get(label) ?? 0) + here);
  });
  return [...pixels]
    .map(([label, count]) => ({ label, pixels: count }))
    .sort((a, b) => b.pixels - a.pixels || a.label - b.label);
}

/** What the network says of the picture alone, in its own pixels. */
function seenPart(found, size, input) {
  const place = placement(size, input);
  const seen = new Uint8Array(place.height * place.width).fill(VOID);
  // The output may be smaller than the input: it is its middle then.
  const [top, left] = [(input.height - found.height) >> 1, (input.width - found.width) >> 1];
  for (let y = 0; y < place.height; y++) {
    for (let x = 0; x < place.width; x++) {
      const [row, column] = [y + place.top - top, x + place.left - left];
      if (row < 0 || column < 0 || row >= found.height || column >= found.width) continue;
      seen[y * place.width + x] = found.data[row * found.width + column];
    }
  }
  return { data: seen, width: place.width, height: place.height, channels: 1 };
}

/** How often each of so many pixels in a row is taken by a row of another size. */
function repeats(size, target) {
  const found = new Int32Array(size);
  for (const place of nearestPlaces(size, target)) found[place]++;
  return found;
}

/**
 * Which pixels a mask covers; the arithmetic is that of training/datasets/instance_masks.py.
 *
 * @param {{side: number, data: Float32Array}} mask probabilities in the frame of the box.
 * @param {number[]} box
 * @param {{width: number, height: number}} size
 * @returns {{top: number, left: number, width: number, height: number, covered: Uint8Array}}
 */
export function pasted(mask, box, size) {
  const [rows, columns] = [
    cells(box[0] * size.height, box[2] * size.height, size.height, mask.side),
    cells(box[1] * size.width, box[3] * size.width, size.width, mask.side),
  ];
  const [height, width] = [rows.shares.length, columns.shares.length];
  const covered = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let value = 0;
      for (const [row, down] of rows.shares[y]) {
        for (const [column, across] of columns.shares[x]) {
          value += down * across * mask.data[row * mask.side + column];
        }
      }
      covered[y * width + x] = value > THRESHOLD ? 1 : 0;
    }
  }
  return { top: rows.begin, left: columns.begin, width, height, covered };
}

/**
 * A mask in the frame of another box: bilinear between cells, and 0 where its own box is not.
 *
 * @param {{side: number, data: Float32Array}} mask in the frame of `box`.
 * @param {number[]} box
 * @param {number[]} frame
 */
export function reframed({ side, data }, box, frame) {
  // Of each cell of the frame the one before it, how far behind that it is, and the one behind.
  const [rows, columns] = [0, 1].map((axis) => {
    const [low, high, begin, end] = [box[axis], box[axis + 2], frame[axis], frame[axis + 2]];
    return Array.from({ length: side }, (_, i) => {
      const middle = begin + ((end - begin) * (i + 0.5)) / side;
      if (!(middle >= low && middle <= high)) return null;
      const place = ((middle - low) / Math.max(high - low, 1e-12)) * side - 0.5;
      const at = Math.min(side - 1, Math.max(0, place));
      return [Math.floor(at), at - Math.floor(at), Math.min(Math.floor(at) + 1, side - 1)];
    });
  });
  const made = new Float32Array(side * side);
  rows.forEach((row, y) => {
    columns.forEach((column, x) => {
      if (!row || !column) return;
      const [first, across, second] = column;
      const along = (line) =>
        data[line * side + first] * (1 - across) + data[line * side + second] * across;
      made[y * side + x] = along(row[0]) * (1 - row[1]) + along(row[2]) * row[1];
    });
  });
  return { side, data: made };
}

/** Along one side: the first pixel in the picture, and the cells of each with their shares. */
function cells(near, far, side, count) {
  const [middle, half] = [(near + far) * 0.5, (far - near) * 0.5 * ((count + 2) / count)];
  const [first, last] = [Math.trunc(middle - half), Math.trunc(middle + half)];
  const [begin, end] = [Math.max(first, 0), Math.min(last + 1, side)];
  const scale = (count + 2) / Math.max(last - first + 1, 1);
  const shares = [];
  for (let pixel = begin; pixel < end; pixel++) {
    const place = Math.max(scale * (pixel - first + 0.5) - 0.5, 0);
    const here = [];
    for (const cell of [Math.floor(place), Math.floor(place) + 1]) {
      const share = 1 - Math.abs(place - cell);
      // Cell 0 and the one behind the last are a border of zeros.
      if (share > 0 && cell >= 1 && cell <= count) here.push([cell - 1, share]);
    }
    shares.push(here);
  }
  return { begin, shares };
}

/** The numbers of a detector that gives codes, as the Android demo checks them. */
import { Problem } from "./problem.js";

const LARGEST_GRID = 4096; // cells along a side
const MOST_ANCHORS = 1e6;
const LARGEST_COUNT = 2 ** 31 - 1;

/**
 * Check "decoding" of kind "codes": see kerascnn/detection/postprocess.py for what each field is.
 *
 * @param {object} decoding
 * @throws {Problem} what could not be, or would take all memory.
 */
export function checkDetector(decoding) {
  const { anchors, box_scales: scales } = decoding;
  demand(Array.isArray(anchors?.levels) && anchors.levels.length > 0, "anchors");
  let count = 0;
  for (const level of anchors.levels) {
    checkLevel(level);
    count += level.rows * level.columns * level.sizes.length;
    demand(count <= MOST_ANCHORS, "anchors");
  }
  demand(Array.isArray(scales) && scales.length === 4 && scales.every(isPositive), "box_scales");
  demand(typeof decoding.background === "boolean", "background");
  for (const name of ["score_threshold", "iou_threshold"]) {
    demand(isPositive(decoding[name]) && decoding[name] <= 1, name);
  }
  const { suppression = "hard", soft_nms_sigma: sigma = 0.5, class_agnostic = false } = decoding;
  demand(["hard", "soft"].includes(suppression), "suppression");
  demand(isPositive(sigma), "soft_nms_sigma");
  demand(typeof class_agnostic === "boolean", "class_agnostic");
  for (const name of ["max_detections", "candidates"]) {
    demand(isCount(decoding[name], LARGEST_COUNT), name);
  }
}

function checkLevel(level) {
  demand(level && typeof level === "object", "anchors.levels");
  const { rows, columns, sizes, offset = 0.5 } = level;
  demand(isCount(rows, LARGEST_GRID), "anchors.levels.rows");
  demand(isCount(columns, LARGEST_GRID), "anchors.levels.columns");
  demand(offset >= 0 && offset <= 1 && typeof offset === "number", "anchors.levels.offset");
  demand(Array.isArray(sizes) && sizes.length > 0, "anchors.levels.sizes");
  const isSize = (size) => Array.isArray(size) && size.length === 2 && size.every(isPositive);
  demand(sizes.every(isSize), "anchors.levels.sizes");
}

/** Not only above 0 but also when it is rounded to 32 bits. */
function isPositive(value) {
  return Number.isFinite(value) && Math.fround(value) > 0 && Number.isFinite(Math.fround(value));
}

function isCount(value, most) {
  return Number.isInteger(value) && value >= 1 && value <= most;
}

function demand(fine, field) {
  if (!fine) throw new Problem("badMetadata", { field: `decoding.${field}` });
}

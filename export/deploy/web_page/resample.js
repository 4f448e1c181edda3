/**
 * Pictures in other sizes, by Pillow's own arithmetic to the last bit.
 *
 * A picture is {data: Uint8Array, width, height, channels}, row by row. Sources: Pillow's
 * src/libImaging/Resample.c (8 bits a channel) and Geometry.c.
 */

const PRECISION = 32 - 8 - 2; // bits behind the point of a weight

/** How many pixels each filter reaches, and the weight of one at a distance. */
const FILTERS = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weight: cubic },
};

/**
 * Resize, with the filter as wide as what a new pixel covers.
 *
 * @param {object} picture
 * @param {number} width
 * @param {number} height
 * @param {string} interpolation "bilinear" or "bicubic".
 * @param {number[]} box left, top, right and bottom of the part that is taken, in pixels.
 * @returns {object} the new picture.
 */
export function resized(picture, width, height, interpolation, box = whole(picture)) {
  const filter = FILTERS[interpolation];
  const [left, top, right, bottom] = box.map(Math.fround); // the C code has floats here
  const passes = [
    (made) => {
      if (width === made.width && left === 0 && right === width) return made;
      return across(made, width, weights(filter, made.width, left, right, width));
    },
    (made) => {
      if (height === made.height && top === 0 && bottom === height) return made;
      return down(made, height, weights(filter, made.height, top, bottom, height));
    },
  ];
  // Pillow 13 takes the cheaper order, and rounds to bytes in between.
  const lost = picture.height - height;
  if (lost > 0 && lost > 2 * (picture.width - width)) passes.reverse();
  return passes.reduce((made, pass) => pass(made), picture);
}

function whole({ width, height }) {
  return [0, 0, width, height];
}

/** Keys' cubic convolution with a = -0.5. */
function cubic(at) {
  const x = Math.abs(at);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/** For each new pixel the first old one, and the weights of that and those behind it. */
function weights(filter, size, from, to, target) {
  const scale = Math.fround(to - from) / target;
  const stretch = Math.max(scale, 1);
  const support = filter.reach * stretch;
  const longest = 2 * Math.ceil(support) + 1;
  const first = new Int32Array(target);
  const count = new Int32Array(target);
  const shares = new Int32Array(target * longest);
  for (let i = 0; i < target; i++) {
    const centre = from + (i + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(size, Math.trunc(centre + support + 0.5));
    const row = [];
    let sum = 0;
    for (let j = begin; j < end; j++) {
      const share = filter.weight((j - centre + 0.5) / stretch);
      row.push(share);
      sum += share;
    }
    first[i] = begin;
    count[i] = end - begin;
    row.forEach((share, j) => {
      const fraction = sum ? share / sum : share;
      const half = fraction < 0 ? -0.5 : 0.5;
      shares[i * longest + j] = Math.trunc(half + fraction * (1 << PRECISION));
    });
  }
  return { first, count, shares, longest };
}

function across({ data, width, height, channels }, target, { first, count, shares, longest }) {
  const made = new Uint8ClampedArray(target * height * channels);
  let place = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < target; x++) {
      const begin = (y * width + first[x]) * channels;
      for (let c = 0; c < channels; c++, place++) {
        let sum = 1 << (PRECISION - 1);
        for (let j = 0, at = begin + c; j < count[x]; j++, at += channels) {
          sum += data[at] * shares[x * longest + j];
        }
        made[place] = sum >> PRECISION;
      }
    }
  }
  return { data: bytesOf(made), width: target, height, channels };
}

function down({ data, width, channels }, target, { first, count, shares, longest }) {
  const step = width * channels;
  const made = new Uint8ClampedArray(target * step);
  const sums = new Int32Array(step);
  for (let y = 0; y < target; y++) {
    sums.fill(1 << (PRECISION - 1));
    for (let j = 0; j < count[y]; j++) {
      const share = shares[y * longest + j];
      const begin = (first[y] + j) * step;
      for (let at = 0; at < step; at++) sums[at] += data[begin + at] * share;
    }
    for (let at = 0; at < step; at++) made[y * step + at] = sums[at] >> PRECISION;
  }
  return { data: bytesOf(made), width, height: target, channels };
}

/**
 * Resize by taking the nearest pixel.
 *
 * @param {object} picture
 * @param {number} width
 * @param {number} height
 * @returns {object} the new picture.
 */
export function nearest(picture, width, height) {
  const columns = nearestPlaces(picture.width, width);
  const rows = nearestPlaces(picture.height, height);
  const { data, channels } = picture;
  const made = new Uint8Array(width * height * channels);
  let place = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (rows[y] * picture.width + columns[x]) * channels;
      for (let c = 0; c < channels; c++) made[place++] = data[at + c];
    }
  }
  return { data: made, width, height, channels };
}

/** Along one side: which of `size` pixels each of `target` new ones is. */
export function nearestPlaces(size, target) {
  const step = size / target;
  const found = new Int32Array(target);
  let at = step * 0.5;
  for (let i = 0; i < target; i++, at += step) found[i] = Math.min(Math.trunc(at), size - 1);
  return found;
}

function bytesOf(clamped) {
  return new Uint8Array(clamped.buffer);
}

/** The image of the self-test: see export/artefacts/selftest_image.py, whose bytes these are. */
const KNUTH = 2654435761;
const DISCS = 8;

/** 2654435761 (k + 1) mod 2**32. */
export function hash(k) {
  return Math.imul(k + 1, KNUTH) >>> 0;
}

/**
 * The image of a size.
 *
 * @param {number} height
 * @param {number} width
 * @param {number} channels 1 or 3.
 * @returns {{data: Uint8Array, width: number, height: number, channels: number}} red first.
 */
export function testImage(height, width, channels) {
  const data = new Uint8Array(height * width * channels);
  const discs = drawnDiscs();
  let at = 0;
  for (let row = 0; row < height; row++) {
    const y = Math.floor((row * 256) / height);
    for (let column = 0; column < width; column++) {
      const x = Math.floor((column * 256) / width);
      const pixel = shaded(coloured(discs, y, x), y, x, 3 * (row * width + column));
      if (channels === 3) for (const colour of pixel) data[at++] = colour;
      else data[at++] = (pixel[0] + 2 * pixel[1] + pixel[2] + 2) >> 2;
    }
  }
  return { data, width, height, channels };
}

function drawnDiscs() {
  let state = 1;
  const number = () => {
    state = (Math.imul(1103515245, state) + 12345) & 0x7fffffff;
    return state >> 16;
  };
  return Array.from({ length: DISCS }, (_, place) => {
    const [x, y, radius] = [number() % 256, number() % 256, 16 + (number() % 64)];
    const colours = [number() % 256, number() % 256, number() % 256];
    return { x, y, square: radius * radius, soft: place % 2 === 0, colours };
  });
}

function coloured(discs, y, x) {
  const pixel = [x, y, 255 - ((x + y) >> 1)];
  for (const disc of discs) {
    const inside = disc.square - (x - disc.x) ** 2 - (y - disc.y) ** 2;
    if (inside <= 0) continue;
    const weight = disc.soft ? inside : disc.square;
    for (let c = 0; c < 3; c++) {
      const mixed = pixel[c] * (disc.square - weight) + disc.colours[c] * weight;
      pixel[c] = Math.floor(mixed / disc.square);
    }
  }
  return pixel;
}

function shaded(pixel, y, x, first) {
  const dark = x >= 128 && y >= 128 && ((x >> 4) ^ (y >> 4)) & 1;
  return pixel.map((colour, c) => {
    const lit = dark ? (colour * 3) >> 2 : colour;
    return Math.min(255, Math.max(0, lit + (hash(first + c) >>> 27) - 16));
  });
}

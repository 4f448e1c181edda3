/** Pixels of picture files and of the camera's frames. */
import { Problem } from "./problem.js";

// Some phones have no canvas beyond it; a network sees a fraction of that anyway.
const MOST_PIXELS = 16e6;
// As many pixels as frames.js keeps.
const WANTED = {
  audio: false,
  video: { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } },
};

/**
 * A picture file, upright by its EXIF orientation, with the bytes that are in the file: colour
 * profiles are left alone, as in training, and transparency lies on white.
 *
 * @param {Blob} file
 * @returns {Promise<HTMLCanvasElement>}
 * @throws {Problem} no picture.
 */
export async function readPicture(file) {
  const bitmap = await decoded(file);
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  const context = readable(canvas);
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

async function decoded(file) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  try {
    return await createImageBitmap(file, options).catch((error) => {
      // Safari before 17 has no such words, and does the first of them anyway.
      if (error instanceof TypeError) return createImageBitmap(file);
      throw error;
    });
  } catch {
    throw new Problem("badPicture");
  }
}

/** What a canvas shows. */
export function pixels(canvas) {
  return readable(canvas).getImageData(0, 0, canvas.width, canvas.height);
}

/** The camera at the back, where there is one; never two at a time. */
export class Camera {
  #stream;
  #canvas;
  #asked = 0; // what arrives for an earlier number is late

  constructor(video) {
    this.video = video;
    this.running = false;
  }

  /**
   * Start it.
   *
   * @returns {Promise<boolean>} whether it runs; it does not where `stop` came in between.
   * @throws {Problem} no camera, or not allowed.
   */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Problem("insecure");
    this.stop();
    const mine = this.#asked;
    try {
      const stream = await navigator.mediaDevices.getUserMedia(WANTED);
      if (mine !== this.#asked) {
        end(stream);
        return false;
      }
      this.#stream = this.video.srcObject = stream;
      await this.video.play();
    } catch (error) {
      if (mine !== this.#asked) return false;
      this.stop();
      throw new Problem(error.name === "NotAllowedError" ? "cameraDenied" : "noCamera");
    }
    this.running = mine === this.#asked;
    return this.running;
  }

  /**
   * The frame that is shown now, to be handed to the worker.
   *
   * @returns {Promise<VideoFrame | ImageBitmap | ImageData>} pixels only where workers have no canvas.
   */
  async frame() {
    if (typeof OffscreenCanvas === "undefined") return this.#pixels();
    if (typeof VideoFrame === "undefined") return createImageBitmap(this.video);
    return new VideoFrame(this.video);
  }

  stop() {
    this.#asked++;
    this.running = false;
    if (this.#stream) end(this.#stream);
    this.#stream = undefined;
    this.video.srcObject = null;
  }

  #pixels() {
    const { videoWidth: width, videoHeight: height } = this.video;
    this.#canvas ??= document.createElement("canvas");
    Object.assign(this.#canvas, { width, height });
    readable(this.#canvas).drawImage(this.video, 0, 0);
    return pixels(this.#canvas);
  }
}

function end(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function readable(canvas) {
  return canvas.getContext("2d", { willReadFrequently: true });
}

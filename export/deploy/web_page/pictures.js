/** Pixels of picture files and of the camera's frames. */
import { Problem } from "./problem.js";

// Some phones have no canvas beyond it; a network sees a fraction of that anyway.
const MOST_PIXELS = 16e6;

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

/** The camera at the back, where there is one. */
export class Camera {
  #stream;
  #canvas = document.createElement("canvas");

  constructor(video) {
    this.video = video;
  }

  /** @throws {Problem} no camera, or not allowed. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Problem("insecure");
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } },
      });
      this.video.srcObject = this.#stream;
      await this.video.play();
    } catch (error) {
      this.stop();
      throw new Problem(error.name === "NotAllowedError" ? "cameraDenied" : "noCamera");
    }
  }

  /** The frame that is shown now. */
  frame() {
    this.#canvas.width = this.video.videoWidth;
    this.#canvas.height = this.video.videoHeight;
    readable(this.#canvas).drawImage(this.video, 0, 0);
    return pixels(this.#canvas);
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = undefined;
    this.video.srcObject = null;
  }
}

function readable(canvas) {
  return canvas.getContext("2d", { willReadFrequently: true });
}

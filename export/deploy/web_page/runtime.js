/** LiteRT on the CPU: a file is opened once and run on one picture after the other. */
import { Tensor, loadAndCompile, loadLiteRt, supportsFeature } from "./litert/litert.js";

import { decode } from "./decode.js";
import { describe } from "./metadata.js";
import { fit, toInput, withChannels } from "./preprocess.js";
import { Problem } from "./problem.js";

const GZIP = 0x8b1f;
let started;
let complaints = []; // what the runtime said of the file that is opened now

/**
 * Open a .tflite file.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<Network>}
 * @throws {Problem} a file that is broken, or without a description of itself.
 */
export async function open(bytes) {
  const description = describe(bytes);
  started ??= start();
  await started;
  let model;
  complaints = [];
  try {
    model = await loadAndCompile(bytes, { accelerator: "wasm" });
  } catch (error) {
    throw refusal(error);
  }
  try {
    return new Network(model, description);
  } catch (error) {
    model.delete();
    throw error;
  }
}

/** Unpack the runtime: browsers with relaxed SIMD have a faster one. */
async function start() {
  const fast = await supportsFeature("relaxedSimd");
  const name = fast ? "litert_wasm_internal" : "litert_wasm_compat_internal";
  const folder = new URL("litert/", import.meta.url).href;
  try {
    // Where Emscripten's code looks for what it would fetch by itself.
    self.Module = { wasmBinary: await unpacked(`${folder}${name}.wasm.gz`), printErr: listen };
    await loadLiteRt(`${folder}${name}.js`);
  } catch (error) {
    started = undefined;
    throw new Problem("noRuntime", { reason: error.message ?? String(error) });
  }
}

/** The runtime tells of everything it does; errors are "ERROR: [file:line] words". */
function listen(line) {
  if (!line.startsWith("ERROR")) return;
  console.warn(line);
  complaints.push(line.replace(/^ERROR: (\[[^\]]*\] )?/, ""));
}

function refusal(error) {
  return new Problem("refused", { reason: complaints[0] ?? error.message ?? String(error) });
}

/** A server may have unpacked the file already. */
async function unpacked(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  const bytes = await answer.arrayBuffer();
  if (new DataView(bytes).getUint16(0, true) !== GZIP) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** A file that is ready to run. */
class Network {
  #model;
  #input;

  constructor(model, description) {
    this.#model = model;
    this.description = description;
    const { height, width, channels, type } = description.input;
    const inputs = model.getInputDetails();
    this.#input = inputs[0];
    const shape = Array.from(inputs[0]?.shape ?? []);
    const fits = inputs.length === 1 && this.#input.dtype === type;
    if (!fits || shape.join() !== [1, height, width, channels].join()) {
      throw new Problem("badInput", { told: `${height}x${width}x${channels} ${type}` });
    }
  }

  /**
   * Answer to a picture.
   *
   * @param {{data: Uint8ClampedArray, width: number, height: number}} rgba
   * @returns {Promise<{answer: object, milliseconds: {picture: number, network: number}}>}
   */
  async run(rgba) {
    const { input } = this.description;
    const begin = performance.now();
    const values = toInput(fit(withChannels(rgba, input.channels), input), input);
    const prepared = performance.now();
    const outputs = await this.#invoke(values);
    const ran = performance.now();
    const answer = decode(outputs, this.description, rgba);
    const picture = prepared - begin + (performance.now() - ran);
    return { answer, milliseconds: { picture, network: ran - prepared } };
  }

  /** Run once on a black picture: the first run takes longer than the others. */
  async warmUp() {
    const { input } = this.description;
    const data = new Uint8Array(input.height * input.width * input.channels);
    await this.#invoke(toInput({ data, channels: input.channels }, input));
  }

  async #invoke(values) {
    const { height, width, channels } = this.description.input;
    const tensor = new Tensor(values, [1, height, width, channels]);
    let results = {};
    try {
      results = await this.#model.run({ [this.#input.name]: tensor });
      const outputs = {};
      for (const [name, result] of Object.entries(results)) {
        outputs[name] = { data: await result.data(), shape: result.type.layout.dimensions };
      }
      return outputs;
    } catch (error) {
      throw refusal(error);
    } finally {
      tensor.delete();
      for (const result of Object.values(results)) result.delete();
    }
  }

  close() {
    this.#model.delete();
  }
}

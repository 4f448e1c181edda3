/** LiteRT: a file is opened once and run on one picture after the other. */
import {
  Tensor,
  getWebGpuDevice,
  loadAndCompile,
  loadLiteRt,
  supportsFeature,
} from "./litert/litert.js";

import { decode } from "./decode.js";
import { faster } from "./faster.js";
import { describe } from "./metadata.js";
import { fit, toInput, withChannels } from "./preprocess.js";
import { Problem } from "./problem.js";
import { compareSelfTest } from "./selftest.js";
import { testImage } from "./test_image.js";

const GZIP = 0x8b1f;
const MOST_THREADS = 4; // beyond, phones wait for their slow cores
let started;
let complaints = []; // what the runtime said of the file that is opened now

/**
 * Open a .tflite file.
 *
 * @param {Uint8Array} bytes
 * @param {string} accelerator "CPU", "WebGPU", or "fastest": of the two the one that answers sooner.
 * @returns {Promise<Network>}
 * @throws {Problem} a file that is broken, or without a description of itself.
 */
export async function open(bytes, accelerator = "fastest") {
  const description = describe(bytes);
  started ??= start();
  await started;
  if (accelerator === "WebGPU") {
    const gpu = await onGpu(bytes, description);
    if (!gpu) throw new Problem("notOnGpu");
    return gpu;
  }
  const cpu = await compiled(bytes, description, "CPU");
  if (accelerator === "CPU") return cpu;
  const gpu = await onGpu(bytes, description).catch((error) => console.warn(error));
  if (!gpu) return cpu;
  const selfTests = { ...cpu.selfTests, ...gpu.selfTests };
  const chosen = await faster(cpu, gpu);
  chosen.selfTests = selfTests;
  return chosen;
}

/** Load the runtime, if it is not there; the addresses of its files. */
export async function loadedFiles() {
  started ??= start();
  return (await started).files;
}

async function compiled(bytes, description, accelerator) {
  let model;
  complaints = [];
  const begin = performance.now();
  const { threads } = await started;
  try {
    model = await loadAndCompile(bytes, {
      accelerator: accelerator === "CPU" ? "wasm" : "webgpu",
      cpuOptions: { numThreads: threads },
      // Answers are those of the CPU, whichever is faster.
      gpuOptions: { precision: "fp32" },
    });
  } catch (error) {
    throw refusal(error);
  }
  try {
    const network = new Network(model, description, { accelerator, threads, begin });
    if (network.whole || accelerator === "CPU") await network.runSelfTest();
    return network;
  } catch (error) {
    model.delete();
    throw error;
  }
}

/** On the GPU, where there is one that takes the file whole. */
async function onGpu(bytes, description) {
  if (!getWebGpuDevice()) return undefined;
  const network = await compiled(bytes, description, "WebGPU");
  if (network.whole) return network;
  network.close();
  return undefined;
}

/**
 * Unpack the runtime, the fastest that browser and page allow.
 *
 * @returns {Promise<{threads: number, files: string[]}>} and the addresses of what was loaded.
 */
async function start() {
  const simd = await supportsFeature("relaxedSimd");
  const isolated = self.crossOriginIsolated && (await supportsFeature("threads"));
  const builds = simd ? ["litert_wasm_internal"] : ["litert_wasm_compat_internal"];
  if (simd && isolated) builds.unshift("litert_wasm_threaded_internal");
  let problem;
  for (const build of builds) {
    try {
      return await load(build);
    } catch (error) {
      problem ??= error; // without network only one of them may be there
    }
  }
  started = undefined;
  throw new Problem("noRuntime", { reason: problem.message ?? String(problem) });
}

async function load(build) {
  const folder = new URL("litert/", import.meta.url).href;
  const files = [`${folder}${build}.wasm.gz`, `${folder}${build}.js`];
  const [wasm, script] = files;
  // Where Emscripten's code looks for what it would fetch by itself, and for its threads' script.
  self.Module = {
    wasmBinary: await unpacked(wasm),
    printErr: listen,
    mainScriptUrlOrBlob: script,
  };
  await loadLiteRt(script);
  const threads = build.includes("threaded")
    ? Math.min(MOST_THREADS, navigator.hardwareConcurrency)
    : 1;
  return { threads, files };
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

  constructor(model, description, { accelerator, threads, begin }) {
    this.#model = model;
    this.description = description;
    this.accelerator = accelerator;
    this.selfTests = {}; // what they came to, see selftest.js, by accelerator
    this.threads = accelerator === "CPU" ? threads : 1;
    this.compileMilliseconds = performance.now() - begin;
    // What the GPU does not take the runtime gives to the CPU, in parts or, quietly, whole.
    this.whole = model.options.accelerator === "webgpu" && model.isFullyAccelerated;
    const { height, width, channels, type } = description.input;
    const inputs = model.getInputDetails();
    this.#input = inputs[0];
    const shape = Array.from(inputs[0]?.shape ?? []);
    const fits = inputs.length === 1 && this.#input.dtype === type;
    if (!fits || shape.join() !== [1, height, width, channels].join()) {
      throw new Problem("badInput", { input: `${height}x${width}x${channels} ${type}` });
    }
  }

  /**
   * Answer to a picture.
   *
   * @param {{data: Uint8ClampedArray, width: number, height: number}} rgba
   * @returns {Promise<object>} {answer, size: {width, height}, milliseconds: {picture, network}}
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
    const size = { width: rgba.width, height: rgba.height };
    return { answer, size, milliseconds: { picture, network: ran - prepared } };
  }

  /** Answer to the test image as the file did where it was written, or not. */
  async runSelfTest() {
    const { input, selftest } = this.description;
    if (!selftest) return;
    const { data, channels } = testImage(input.height, input.width, input.channels);
    const outputs = await this.#invoke(toInput({ data, channels }, input));
    this.selfTests[this.accelerator] = compareSelfTest(selftest, outputs);
  }

  /** Run once on a black picture: the first run takes longer than the others. */
  async warmUp() {
    await this.outputsOf(() => 0);
  }

  /**
   * Run on a picture of the network's own size.
   *
   * @param {(at: number) => number} byteAt
   * @returns {Promise<{outputs: object, milliseconds: number}>} of the network alone.
   */
  async outputsOf(byteAt) {
    const { input } = this.description;
    const { height, width, channels } = input;
    const data = Uint8Array.from({ length: height * width * channels }, (_, at) => byteAt(at));
    const values = toInput({ data, channels }, input);
    const begin = performance.now();
    const outputs = await this.#invoke(values);
    return { outputs, milliseconds: performance.now() - begin };
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

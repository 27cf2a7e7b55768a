// One network in its own thread: pixels in, pixels out. Messages:
// {load: url, runtime: url of a folder, provider, threads} -> {loaded}; {pixels, width, height} -> {pixels, ms}; {error} if either fails.

// ONNX Runtime has a build for each provider. The one for WebGPU is twice as large.
const BUILDS = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };

// 0..255 -> [-1, 1] as in training: x / 255, minus 0.5, divided by 0.5, in float32 after each step.
const TO_FLOAT = Float32Array.from({ length: 256 }, (_, x) => Math.fround(Math.fround(x / 255) - 0.5) / 0.5);

let session = null;
let Tensor = null;

async function load({ load: url, runtime: folder, provider, threads }) {
  const runtime = await import(folder + BUILDS[provider]);
  const { env, InferenceSession } = runtime;
  Tensor = runtime.Tensor;
  env.wasm.wasmPaths = folder;
  env.wasm.numThreads = threads;
  env.logLevel = "error";
  const answer = await fetch(url, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  session = await InferenceSession.create(new Uint8Array(await answer.arrayBuffer()), {
    executionProviders: [provider],
    graphOptimizationLevel: "all",
    logSeverityLevel: 3, // errors alone
  });
}

// pixels: Uint8ClampedArray, H W RGBA. Returns the same of the output.
async function run(pixels, width, height) {
  const area = width * height;
  const x = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) {
    x[i] = TO_FLOAT[pixels[4 * i]];
    x[area + i] = TO_FLOAT[pixels[4 * i + 1]];
    x[2 * area + i] = TO_FLOAT[pixels[4 * i + 2]];
  }
  const input = new Tensor("float32", x, [1, 3, height, width]);
  const results = await session.run({ [session.inputNames[0]]: input });
  const result = results[session.outputNames[0]];
  const y = result.data;
  const out = new Uint8ClampedArray(4 * area);
  for (let i = 0; i < area; i++) {
    out[4 * i] = toByte(y[i]);
    out[4 * i + 1] = toByte(y[area + i]);
    out[4 * i + 2] = toByte(y[2 * area + i]);
    out[4 * i + 3] = 255;
  }
  result.dispose();
  input.dispose();
  return out;
}

// [-1, 1] -> 0..255 as in files that Python writes: truncated, not rounded, in float32.
function toByte(y) {
  return Math.trunc(Math.min(255, Math.max(0, Math.fround(Math.fround(Math.fround(y + 1) / 2) * 255))));
}

self.onmessage = async ({ data }) => {
  try {
    if (data.load) {
      await load(data);
      self.postMessage({ loaded: true });
      return;
    }
    const start = performance.now();
    const pixels = await run(data.pixels, data.width, data.height);
    self.postMessage({ pixels, ms: performance.now() - start }, [pixels.buffer]);
  } catch (error) {
    self.postMessage({ error: error?.message || String(error) });
  }
};

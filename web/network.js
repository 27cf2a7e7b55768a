// A network of model.json. It loads at its first frame and runs one frame at a time, in a worker: by WebGPU
// where that gives the same image as WASM does, else by WASM.

export const REMEMBERED = 15; // the time per frame is the median of this many frames
// Milliseconds of running before frames count: browsers first compile WebAssembly quickly, and compile it
// better after it has run for a while.
const WARM_UP = 800;
const MEASURED = 5; // this many frames are enough for a median
// Grey levels, of 255, by which an image of WebGPU may differ from that of WASM. Both compute in float32.
const TOLERANCE = 4;

// Threads work only if headers of the server isolate the page from others. Half of the cores are used:
// threads wait for each other, so a core that also draws the page would delay them all.
const THREADS = self.crossOriginIsolated ? Math.min(4, Math.max(1, (navigator.hardwareConcurrency || 1) >> 1)) : 1;

// What the networks of a page run on, see `chooseProvider`, in words.
export const PROVIDERS = { webgpu: "WebGPU", wasm: `WASM, ${THREADS} thread${THREADS > 1 ? "s" : ""}` };

// version: of the runtime for WebGPU that lies beside the page; null = none.
// -> {name: "webgpu" or "wasm", key: what a comparison depends on, why: what to say if WebGPU was asked for}
// ?provider=wasm or ?provider=webgpu in the address chooses; the latter takes WebGPU on the CPU too, which
// is slower than WASM.
export async function chooseProvider(version) {
  const asked = new URLSearchParams(location.search).get("provider");
  const wasm = (why) => ({ name: "wasm", why: asked === "webgpu" ? why : null });
  if (asked === "wasm") return wasm(null);
  if (!version) return wasm("this page was made without it");
  if (!navigator.gpu) return wasm(self.isSecureContext ? "this browser has none" : "browsers give it to pages from https only");
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return wasm("the browser found no GPU for it");
  const { vendor, architecture, isFallbackAdapter } = adapter.info ?? {};
  if ((isFallbackAdapter ?? adapter.isFallbackAdapter) && asked !== "webgpu") return wasm(null);
  return { name: "webgpu", key: [version, vendor, architecture, navigator.userAgent].join(" "), why: null };
}

// A worker with a loaded network.
class Runner {
  constructor() {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  }

  // file, runtime: as of `Network`
  static async open(file, runtime, provider) {
    const runner = new Runner();
    const [load, folder] = [file, runtime].map((name) => new URL(name, document.baseURI).href);
    try {
      await runner.ask({ load, runtime: folder, provider, threads: provider === "wasm" ? THREADS : 1 });
    } catch (error) {
      runner.close();
      throw error;
    }
    return runner;
  }

  // image: ImageData -> {pixels, ms}. ``image`` stays as it is.
  run({ data, width, height }) {
    return this.ask({ pixels: data, width, height });
  }

  close() {
    this.worker.terminate();
  }

  ask(question) {
    return new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
      this.worker.onerror = (event) => reject(new Error(event.message || "its worker did not start"));
      this.worker.postMessage(question);
    });
  }
}

export class Network {
  // facts: as deploy/web/networks.py describes it
  // runtime: the folder of the browser's ONNX Runtime
  // choice: promise of what `chooseProvider` gives
  constructor(facts, runtime, choice) {
    this.facts = facts;
    this.runtime = runtime;
    // Another file has another address, so browsers may keep each.
    this.file = `${facts.file}?v=${facts.digest}`;
    this.choice = choice;
    this.sample = null; // ImageData to compare WebGPU and WASM on; the first frame if none is given
    this.provider = null; // webgpu | wasm, once it is loaded
    this.why = null; // why it is not WebGPU, where that is worth to be said
    this.forget();
    this.busy = false;
  }

  load() {
    this.loaded ??= this.start();
    return this.loaded;
  }

  open(provider) {
    return Runner.open(this.file, this.runtime, provider);
  }

  async start() {
    const choice = await this.choice;
    this.why = choice.why;
    this.runner = choice.name === "webgpu" ? await this.openGpu(choice.key) : null;
    this.provider = this.runner ? "webgpu" : "wasm";
    this.runner ??= await this.open("wasm");
    this.ready = true;
  }

  // A runner on the GPU, after its image was compared with that of WASM; null if it cannot be used. Browsers
  // remember the comparison of each network.
  async openGpu(key) {
    const name = `webgpu ${this.facts.digest} ${key}`;
    let gpu, cpu;
    try {
      let worst = recall(name);
      if (worst === null) {
        gpu = await this.open("webgpu");
        const made = await gpu.run(this.sample);
        cpu = await this.open("wasm");
        worst = difference(made.pixels, (await cpu.run(this.sample)).pixels);
        remember(name, worst);
      }
      if (worst <= TOLERANCE) return gpu ?? (await this.open("webgpu"));
      this.why = `its image differs by ${worst} grey levels`;
    } catch (error) {
      this.why = `it failed (${error.message})`;
    } finally {
      cpu?.close();
    }
    gpu?.close();
    return null;
  }

  // image: ImageData -> ImageData
  async run(image) {
    this.busy = true;
    this.sample ??= image;
    try {
      await this.load();
      let answer;
      try {
        answer = await this.runner.run(image);
      } catch (error) {
        if (this.provider === "wasm") throw error;
        // GPUs are taken away: drivers restart, and computers sleep.
        this.runner.close();
        this.runner = await this.open("wasm");
        this.provider = "wasm";
        this.why = `it failed (${error.message})`;
        this.forget();
        answer = await this.runner.run(image);
      }
      this.last = answer.ms;
      this.spent += answer.ms;
      return new ImageData(answer.pixels, image.width, image.height);
    } finally {
      this.busy = false;
    }
  }

  forget() {
    this.times = [];
    this.spent = 0; // milliseconds spent on all frames
    this.alone = 0; // and on those that ran alone
    this.counted = false;
  }

  // Counts the time of the last frame, which ran alone, unless the browser may still have been compiling.
  count() {
    this.counted = true;
    this.alone += this.last;
    if (this.spent > WARM_UP) this.times.push(this.last);
    if (this.times.length > REMEMBERED) this.times.shift();
  }

  // Whether the time per frame needs more frames of the same drawing. Set ``counted`` to false when the
  // drawing has changed: a frame of each drawing is to count, unless that would take long.
  get measuring() {
    if (this.times.length < MEASURED) return this.alone < 4 * WARM_UP;
    return !this.counted && this.median < WARM_UP / 2;
  }

  // Median milliseconds per frame; undefined before the first counted frame.
  get median() {
    const sorted = [...this.times].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : sorted.length ? (sorted[middle - 1] + sorted[middle]) / 2 : undefined;
  }
}

// The largest difference of two images, in grey levels.
function difference(a, b) {
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  return worst;
}

// Browsers may forbid pages to store anything.
function recall(name) {
  try {
    const stored = localStorage.getItem(name);
    return stored === null ? null : Number(stored);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Then it is compared again at the next visit.
  }
}

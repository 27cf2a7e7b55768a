// A network of model.json in its worker. It loads at its first frame and runs one frame at a time.

export const REMEMBERED = 15; // the time per frame is the median of this many frames
// Milliseconds of running before frames count: browsers first compile WebAssembly quickly, and compile it
// better after it has run for a while.
const WARM_UP = 800;
const MEASURED = 5; // this many frames are enough for a median

// Threads work only if headers of the server isolate the page from others. Half of the cores are used:
// threads wait for each other, so a core that also draws the page would delay them all.
export const THREADS = self.crossOriginIsolated ? Math.min(4, Math.max(1, (navigator.hardwareConcurrency || 1) >> 1)) : 1;

export class Network {
  constructor(facts) {
    this.facts = facts; // {name, file, bytes, parameters, macs, config}
    this.times = [];
    this.busy = false;
    this.spent = 0; // milliseconds spent on all frames
  }

  load() {
    this.loaded ??= this.start();
    return this.loaded;
  }

  async start() {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    await this.ask({ load: new URL(this.facts.file, document.baseURI).href, threads: THREADS });
    this.ready = true;
  }

  // image: ImageData -> ImageData
  async run(image) {
    this.busy = true;
    try {
      await this.load();
      const { width, height } = image;
      const answer = await this.ask({ pixels: image.data, width, height }, [image.data.buffer]);
      this.last = answer.ms;
      this.spent += answer.ms;
      return new ImageData(answer.pixels, width, height);
    } finally {
      this.busy = false;
    }
  }

  // Counts the time of the last frame, unless the browser may still have been compiling.
  count() {
    if (this.spent > WARM_UP) this.times.push(this.last);
    if (this.times.length > REMEMBERED) this.times.shift();
  }

  // Whether the time per frame needs more frames of the same drawing.
  get measuring() {
    return this.times.length < MEASURED && this.spent < 4 * WARM_UP;
  }

  // Median milliseconds per frame; undefined before the first counted frame.
  get median() {
    const sorted = [...this.times].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : sorted.length ? (sorted[middle - 1] + sorted[middle]) / 2 : undefined;
  }

  ask(question, moved = []) {
    return new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
      this.worker.onerror = (event) => reject(new Error(event.message || "its worker did not start"));
      this.worker.postMessage(question, moved);
    });
  }
}

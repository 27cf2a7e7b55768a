// The camera: asked for when it is started, let go when it is stopped. It knows nothing about the page.

const REFUSALS = {
  NotAllowedError: "The camera was refused. Allow it for this page beside the browser's address bar, then try again.",
  NotFoundError: "No camera was found. Connect one, or open an image.",
  OverconstrainedError: "No camera was found that fits. Connect another one, or open an image.",
  NotReadableError: "The camera cannot be read: another program may use it. Close that and try again.",
};
const COUNTED = 15; // the rate is that of this many frames

export class Camera {
  // video: the element that plays it. arrived(): called for each new frame. ended(): called when the camera
  // goes away by itself.
  constructor(video, arrived, ended) {
    this.video = video;
    this.arrived = arrived;
    this.ended = ended;
    this.stream = null;
    this.starts = 0;
    this.fresh = false; // whether there is a frame that was not drawn
  }

  get live() {
    return this.stream !== null;
  }

  // Asks for a camera and plays it. side: pixels that the shorter side should have at least.
  // Returns false if it was stopped in the meantime. Throws an Error that says in plain words what is wrong.
  async start(side) {
    const mine = ++this.starts;
    if (!self.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers give the camera only to pages from https, and from this computer by the name localhost.");
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        // Of a telephone's cameras the one at the back.
        video: { facingMode: { ideal: "environment" }, width: { ideal: Math.max(640, side) }, height: { ideal: Math.max(480, side) } },
      });
    } catch (error) {
      throw new Error(REFUSALS[error.name] ?? `The camera could not be started: ${error.message || error.name}.`);
    }
    if (mine !== this.starts) {
      for (const track of stream.getTracks()) track.stop();
      return false;
    }
    this.stream = stream;
    this.times = [];
    for (const track of stream.getVideoTracks()) {
      track.addEventListener("ended", () => {
        if (this.stream !== stream) return;
        this.stop();
        this.ended();
      });
    }
    this.video.srcObject = stream;
    this.watch(stream);
    await this.video.play().catch(() => {}); // stopped before it played
    return this.stream === stream;
  }

  stop() {
    this.starts++;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.fresh = false;
    this.video.srcObject = null;
  }

  // Calls arrived() for each frame of a stream until it is stopped.
  watch(stream) {
    const next = this.video.requestVideoFrameCallback ? (act) => this.video.requestVideoFrameCallback(act) : requestAnimationFrame;
    const seen = () => {
      if (this.stream !== stream) return;
      next(seen);
      this.fresh = this.video.videoWidth > 0;
      if (this.fresh) this.arrived();
    };
    next(seen);
  }

  // Counts an output. now: milliseconds.
  count(now) {
    this.times = [...this.times, now].slice(-COUNTED);
  }

  // Outputs per second; undefined before the second one.
  get rate() {
    const { times } = this;
    return times.length > 1 ? (1000 * (times.length - 1)) / (times.at(-1) - times[0]) : undefined;
  }
}

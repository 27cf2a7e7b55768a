// Browsers start no worker from a page that is opened as a file, and the site's search is one. There
// a hidden frame takes its place: it runs the same script, on the page's own thread.
class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    const frame = Object.assign(document.createElement("iframe"), { hidden: true });
    document.body.append(frame);
    const inside = frame.contentWindow;
    this.inside = inside;
    // Of a file, no origin can be named; the sender is checked instead.
    addEventListener("message", (event) => {
      if (event.source !== inside) return;
      const message = new MessageEvent("message", { data: event.data });
      this.dispatchEvent(message);
      this.onmessage?.(message);
    });
    inside.document.open();
    inside.document.write("<body></body>");
    inside.document.close();
    inside.postMessage = (data) => window.dispatchEvent(
      new MessageEvent("message", { data, source: inside }));
    const load = (address) => new Promise((resolve, reject) => {
      const script = inside.document.createElement("script");
      Object.assign(script, { src: address, onload: resolve, onerror: reject });
      inside.document.body.append(script);
    });
    // One after the other, as a worker's importScripts does.
    inside.importScripts = (...urls) =>
      urls.reduce((done, address) => done.then(() => load(address)), Promise.resolve());
    this.ready = load(url);
  }

  postMessage(data) {
    this.ready.then(() =>
      this.inside.dispatchEvent(new this.inside.MessageEvent("message", { data })));
  }

  terminate() {
    this.inside.frameElement.remove();
  }
}
if (location.protocol === "file:") window.Worker = FrameWorker;

// A drawing on a canvas of the network's input size: tools, undo, redo. It knows nothing about the page.

const HISTORY = 60;

export class Drawing {
  // canvas: has the width and height of the image. changed(): called after every change of the pixels.
  constructor(canvas, background, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    this.background = background; // [r, g, b]
    this.changed = changed;
    this.tool = "brush"; // brush | eraser | line | rectangle | fill
    this.colour = { rgb: [0, 0, 0] }; // drawn with an outline if it also has edge and edgeWidth
    this.width = 1;
    this.past = [];
    this.future = [];
    this.stroke = null; // points of the stroke being drawn
    this.fillAll(background);
  }

  get pixels() {
    return this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
  }

  // ------------------------------------------------------------------------------------------------------
  // Strokes; positions are in pixels of the image

  begin(x, y) {
    if (this.stroke) this.end();
    this.before = this.pixels;
    this.stroke = [[x, y]];
    if (this.tool === "fill") {
      this.flood(Math.floor(x), Math.floor(y));
      this.end();
    } else {
      this.paint();
    }
  }

  // points: [x, y] of each point that the pointer has passed since the last call.
  move(points) {
    if (!this.stroke || !points.length) return;
    if (this.tool === "line" || this.tool === "rectangle") this.stroke.splice(1, Infinity, points.at(-1));
    else this.stroke.push(...points);
    this.paint();
  }

  end() {
    if (!this.stroke) return;
    this.stroke = null;
    this.remember(this.before);
    this.changed();
  }

  cancel() {
    if (!this.stroke) return;
    this.stroke = null;
    this.context.putImageData(this.before, 0, 0);
    this.changed();
  }

  // Draws the whole current stroke again, over the image from before the stroke.
  paint() {
    const { context, stroke } = this;
    const { rgb, edge, edgeWidth } = this.tool === "eraser" ? { rgb: this.background } : this.colour;
    context.putImageData(this.before, 0, 0);
    if (edge) {
      this.shape(stroke, edge, edgeWidth);
      this.keep(rgb);
    }
    this.shape(stroke, rgb, 0);
    this.changed();
  }

  shape(points, rgb, margin) {
    const { context } = this;
    const colour = `rgb(${rgb.join(" ")})`;
    const [[x, y]] = points;
    const [endX, endY] = points.at(-1);
    if (this.tool === "rectangle") {
      context.fillStyle = colour;
      context.fillRect(
        Math.min(x, endX) - margin,
        Math.min(y, endY) - margin,
        Math.abs(endX - x) + 2 * margin,
        Math.abs(endY - y) + 2 * margin,
      );
      return;
    }
    context.strokeStyle = colour;
    context.lineWidth = this.width + 2 * margin;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(x, y);
    // Curves through the midpoints between points stay smooth where the pointer was fast.
    for (let i = 1; i < points.length - 1; i++) {
      const [ax, ay] = points[i];
      const [bx, by] = points[i + 1];
      context.quadraticCurveTo(ax, ay, (ax + bx) / 2, (ay + by) / 2);
    }
    // Canvases do not draw lines of zero length, so a dot is a very short line.
    context.lineTo(endX + 0.01, endY);
    context.stroke();
  }

  // Removes the outline from pixels that had the colour before the stroke, so that streets join.
  keep([r, g, b]) {
    const now = this.pixels;
    const [old, new_] = [new Uint32Array(this.before.data.buffer), new Uint32Array(now.data.buffer)];
    const colour = new Uint32Array(new Uint8ClampedArray([r, g, b, 255]).buffer)[0];
    for (let i = 0; i < old.length; i++) if (old[i] === colour) new_[i] = colour;
    this.context.putImageData(now, 0, 0);
  }

  // Fills the area of nearly one colour around (x, y) with the current colour.
  flood(x, y) {
    const { width, height } = this.canvas;
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const image = this.pixels;
    const { data } = image;
    const start = 4 * (y * width + x);
    const [r, g, b] = data.slice(start, start + 3);
    const seen = new Uint8Array(width * height);
    const stack = [y * width + x];
    while (stack.length) {
      const i = stack.pop();
      if (seen[i]) continue;
      const [dr, dg, db] = [data[4 * i] - r, data[4 * i + 1] - g, data[4 * i + 2] - b];
      if (dr * dr + dg * dg + db * db > 300) continue;
      seen[i] = 1;
      const column = i % width;
      if (column > 0) stack.push(i - 1);
      if (column < width - 1) stack.push(i + 1);
      if (i >= width) stack.push(i - width);
      if (i < width * (height - 1)) stack.push(i + width);
    }
    for (let i = 0; i < seen.length; i++) if (seen[i]) data.set(this.colour.rgb, 4 * i);
    this.context.putImageData(image, 0, 0);
  }

  // ------------------------------------------------------------------------------------------------------
  // The whole drawing

  fillAll(rgb) {
    this.context.fillStyle = `rgb(${rgb.join(" ")})`;
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  clear() {
    this.replace(() => this.fillAll(this.background));
  }

  // Shows a square part of an image: "left", "middle" or "right". image: anything that a canvas can draw.
  show(image, part = "middle") {
    this.replace(() => this.paste(image, image.width, image.height, part));
  }

  // Shows the middle square of a playing video. Undo goes back to the image from before its first frame.
  showFrame(video, first) {
    const draw = () => this.paste(video, video.videoWidth, video.videoHeight, "middle");
    if (first) return this.replace(draw);
    draw();
    this.changed();
  }

  paste(image, width, height, part) {
    const side = Math.min(width, height);
    const share = { left: 0, middle: 0.5, right: 1 }[part];
    const [left, top] = [Math.round((width - side) * share), Math.round((height - side) / 2)];
    this.fillAll([255, 255, 255]); // the background of transparent images
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(image, left, top, side, side, 0, 0, this.canvas.width, this.canvas.height);
  }

  replace(draw) {
    this.cancel();
    const before = this.pixels;
    draw();
    this.remember(before);
    this.changed();
  }

  // ------------------------------------------------------------------------------------------------------
  // Undo

  remember(before) {
    this.past.push(before);
    if (this.past.length > HISTORY) this.past.shift();
    this.future = [];
  }

  undo() {
    this.cancel();
    this.travel(this.past, this.future);
  }

  redo() {
    this.cancel();
    this.travel(this.future, this.past);
  }

  travel(from, to) {
    if (!from.length) return;
    to.push(this.pixels);
    this.context.putImageData(from.pop(), 0, 0);
    this.changed();
  }
}

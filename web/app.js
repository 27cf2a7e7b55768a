// The page: controls, a drawing, and the outputs of the networks. Only the latest drawing is run; older ones
// are skipped.

import { Camera } from "./camera.js";
import { Drawing } from "./drawing.js";
import { chooseProvider, Network, PROVIDERS, REMEMBERED } from "./network.js";

const $ = (id) => document.getElementById(id);

const TOOLS = {
  brush: ["Brush", "B", "m4 20 1-4L16 5l3 3L8 19zM14 7l3 3"],
  eraser: ["Eraser", "E", "m4 15 9-9 6 6-8 8H8zM9 10l6 6M11 20h9"],
  line: ["Line", "L", "M5 19 19 5"],
  rectangle: ["Rectangle", "R", "M4 6h16v12H4z"],
  fill: ["Fill", "F", "m11 4 7 7-7 7-7-7 7-7zM4 11h14M20 15c1.5 2 2 3 2 3.7a2 2 0 0 1-4 0c0-.7.5-1.700 2-3.700"],
};
const PALETTE_NAMES = { builtin: "Built-in maps", maps: "Web maps", colours: "General" };
// Initial stroke width as a fraction of the image width. On maps, streets are about ten metres wide.
const WIDTHS = { map: 0.05, photo: 0.03, edges: 0.008 };

let model, drawing, networks, current, camera;
let comparing = false; // all networks side by side, instead of the current one alone
let pointer = null; // id of the pointer (finger, mouse or pen) that draws
let rateShown = 0; // when the camera's rate was written [ms]
let key = null; // {x, y, down}: the pen that the keyboard moves, in image pixels

// --------------------------------------------------------------------------------------------------------
// Frames

const shown = () => (comparing ? networks : [current]);
const canvasOf = (network) => $(comparing && network !== networks[0] ? "output-teacher" : "output");

function drawingChanged() {
  for (const network of networks) network.stale = true;
  for (const network of shown()) canvasOf(network).setAttribute("aria-busy", "true");
  $("undo").setAttribute("aria-disabled", String(!drawing.past.length && !drawing.stroke));
  $("redo").setAttribute("aria-disabled", String(!drawing.future.length));
  nextFrames();
}

function nextFrames() {
  shown().forEach(nextFrame);
}

// Starts a frame of a network, unless it is running one; the end of that frame calls this again. A frame
// that only measures time waits until no other network runs. Times of frames that overlap do not count.
async function nextFrame(network) {
  if (network.busy) return;
  const others = networks.filter((other) => other !== network && other.busy);
  if (!network.stale && (!network.measuring || others.length || camera.live)) return;
  network.stale = false;
  network.crowded = others.length > 0;
  for (const other of others) other.crowded = true;
  try {
    const loading = `Loading the ${network.facts.name} network, ${size(network.facts.bytes)}`;
    if (!network.ready) say(loading);
    const output = await network.run(drawing.pixels);
    if ($("status").textContent === loading) say(`${label(network)} network ready`);
    if (network.why && network.why !== network.told) say(`WebGPU is not used: ${network.why}`);
    network.told = network.why;
    if (!network.crowded) network.count();
    if (shown().includes(network)) {
      const canvas = canvasOf(network);
      canvas.getContext("2d", { alpha: false }).putImageData(output, 0, 0);
      if (!network.stale) canvas.setAttribute("aria-busy", "false");
      if (camera.live && network === shown().at(-1)) camera.count(performance.now());
    }
    showSpeed();
  } catch (error) {
    failed(network, error);
    return;
  }
  nextFrames();
  showCamera();
}

function failed(network, error) {
  stopCamera();
  const text = `The ${network.facts.name} network could not run: ${error.message}.`;
  if (network === networks[0]) {
    // Without the first network there is nothing to show.
    window.showMessage([text, location.href, "Reload to try again. If that does not help, use a current browser."]);
    return;
  }
  choose(networks[0]);
  $(`network-${network.facts.name}`).disabled = true;
  $("compare").hidden = true;
  say(text);
}

// --------------------------------------------------------------------------------------------------------
// Networks and their speed

const label = (network) => network.facts.name[0].toUpperCase() + network.facts.name.slice(1);
const size = (bytes) => `${(bytes / 1e6).toPrecision(bytes < 1e7 ? 2 : 3)} MB`;
const digits = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(value >= 1 ? 3 : 2));

function facts({ parameters, macs, bytes }) {
  const parts = [`${digits(parameters / 1e6)}M parameters`];
  if (macs) parts.push(`${digits(macs / 1e9)}G MACs`);
  return [...parts, size(bytes)].join(" · ");
}

function makeNetworks() {
  const choice = chooseProvider(model.webgpu);
  networks = model.networks.map((facts) => new Network(facts, choice));
  current = networks[0];
  for (const network of networks) {
    const { name } = network.facts;
    const radio = element("input", { type: "radio", name: "network", id: `network-${name}`, checked: network === current });
    radio.addEventListener("change", () => choose(network));
    const card = element("label", { htmlFor: radio.id, title: network.facts.config ?? "" });
    card.append(
      element("span", { className: "name", textContent: label(network) }),
      element("span", { className: "time", id: `time-${name}`, textContent: "–" }),
      element("span", { className: "provider", id: `provider-${name}` }),
      element("span", { className: "track" }),
      element("span", { className: "facts", textContent: facts(network.facts) }),
    );
    card.querySelector(".track").append(element("span", { className: "fill" }));
    $("networks").append(radio, card);
  }
  $("compare").hidden = networks.length < 2;
  $("compare").addEventListener("click", () => compare(!comparing));
}

function choose(network) {
  if (comparing) compare(false);
  if (network === current || $(`network-${network.facts.name}`).disabled) return;
  current = network;
  $(`network-${network.facts.name}`).checked = true;
  drawingChanged();
}

function compare(on) {
  if ($("compare").hidden && on) return;
  comparing = on;
  current = networks[0];
  $(`network-${current.facts.name}`).checked = true;
  $("compare").setAttribute("aria-pressed", String(on));
  $("app").classList.toggle("comparing", on);
  $("second").hidden = $("output-label").hidden = !on;
  drawingChanged();
}

function showSpeed() {
  const slowest = Math.max(...networks.map((network) => network.median ?? 0));
  for (const network of networks) {
    $(`provider-${network.facts.name}`).textContent = PROVIDERS[network.provider] ?? "";
    const time = $(`time-${network.facts.name}`);
    if (network.median === undefined) {
      time.textContent = "–";
      continue;
    }
    time.textContent = `${digits(network.median)} ms`;
    time.parentElement.querySelector(".fill").style.width = `${(100 * network.median) / slowest}%`;
  }
  const found = networks.find((network) => network.why);
  const note = found ? ` WebGPU is not used: ${found.why}.` : "";
  $("measured").textContent = `Time per frame, median of the last ${REMEMBERED}.${note}`;
  const [compressed, teacher] = networks;
  if (!teacher) return;
  if (compressed.median === undefined || teacher.median === undefined) {
    $("ratio").textContent = "Choose the teacher, or both side by side (V), to compare.";
    return;
  }
  const fewer = (what) => `${(teacher.facts[what] / compressed.facts[what]).toFixed(1)}× fewer ${{ macs: "MACs" }[what] ?? what}`;
  $("ratio").replaceChildren(
    "Compressed is ",
    element("strong", { textContent: `${(teacher.median / compressed.median).toFixed(1)}×` }),
    " as fast",
    element("span", { textContent: `, with ${fewer("parameters")}${compressed.facts.macs && teacher.facts.macs ? ` and ${fewer("macs")}` : ""}` }),
  );
}

// --------------------------------------------------------------------------------------------------------
// Tools and colours

function makeTools() {
  const names = model.mode === "edges" ? ["brush", "eraser", "line"] : Object.keys(TOOLS);
  for (const name of names) {
    const [text, shortcut, path] = TOOLS[name];
    const button = element("button", { type: "button", id: `tool-${name}`, title: `${text} (${shortcut})` });
    button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;
    button.append(element("span", { textContent: text }));
    button.addEventListener("click", () => setTool(name));
    $("tools").append(button);
  }
  setTool("brush");
  const width = $("width");
  width.max = Math.max(4, Math.round(model.size / 5));
  width.addEventListener("input", () => setWidth(width.valueAsNumber));
  setWidth(Math.max(1, Math.round(model.size * WIDTHS[model.mode])));
}

function setTool(name) {
  if (!$(`tool-${name}`)) return;
  liftKey();
  drawing.end();
  drawing.tool = name;
  for (const button of $("tools").children) button.setAttribute("aria-pressed", String(button.id === `tool-${name}`));
  placeCursor();
}

function setWidth(value) {
  const width = $("width");
  width.value = value;
  drawing.width = width.valueAsNumber;
  $("width-value").value = `${width.value} px`;
  placeCursor();
}

function makePalette() {
  $("palette-box").hidden = model.mode === "edges";
  const choice = $("palette-name");
  for (const [i, { name }] of model.palettes.entries()) choice.add(new Option(PALETTE_NAMES[name] ?? name, i));
  choice.hidden = model.palettes.length < 2;
  choice.addEventListener("change", () => setPalette(model.palettes[choice.value].colours));
  $("any-colour").addEventListener("input", ({ target }) => {
    const rgb = [1, 3, 5].map((at) => parseInt(target.value.slice(at, at + 2), 16));
    setColour({ name: `Colour ${target.value}`, rgb });
  });
  setPalette(model.palettes[0].colours);
}

function setPalette(colours) {
  drawing.background = colours[0].rgb;
  $("palette").replaceChildren(
    ...colours.map((colour, i) => {
      const title = i < 9 ? `${colour.name} (${i + 1})` : colour.name;
      const button = element("button", { type: "button", title });
      button.setAttribute("aria-label", colour.name);
      button.style.setProperty("--colour", `rgb(${colour.rgb.join(" ")})`);
      if (colour.edge) button.style.setProperty("--edge", `rgb(${colour.edge.join(" ")})`);
      button.addEventListener("click", () => setColour(colour, button));
      return button;
    }),
  );
  setColour(colours[1], $("palette").children[1]);
}

// button: the one in the palette; none for a colour from the picker.
function setColour(colour, button) {
  liftKey();
  drawing.colour = colour;
  for (const other of $("palette").children) other.setAttribute("aria-pressed", String(other === button));
  $("colour-name").textContent = colour.name;
  $("any-colour").value = `#${colour.rgb.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  if (drawing.tool === "eraser") setTool("brush");
}

// --------------------------------------------------------------------------------------------------------
// The camera

function makeCamera() {
  for (const part of document.querySelectorAll(".photo")) part.hidden = model.mode !== "photo";
  camera = new Camera($("video"), showCamera, () => {
    cameraStopped();
    note("The camera was disconnected.");
  });
  $("camera").addEventListener("click", () => (camera.live ? stopCamera() : startCamera()));
  $("camera-stop").addEventListener("click", () => {
    stopCamera();
    $("camera").focus({ preventScroll: true });
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stopCamera();
  });
}

async function startCamera() {
  note("");
  liftKey();
  drawing.cancel();
  $("camera").disabled = true; // while the browser asks
  camera.first = true;
  try {
    if (!(await camera.start(model.size))) return;
    cameraShown(true);
    say("Camera started");
  } catch (error) {
    note(error.message);
  } finally {
    $("camera").disabled = false;
  }
}

function stopCamera() {
  const { live } = camera;
  camera.stop();
  if (!live) return;
  cameraStopped();
  say("Camera stopped");
}

function cameraStopped() {
  cameraShown(false);
  nextFrames(); // the measurement goes on
}

function cameraShown(live) {
  $("camera-label").textContent = live ? "Stop the camera" : "Camera";
  $("camera-stop").hidden = $("rate").hidden = !live;
  $("rate").textContent = "Camera: –";
  document.body.classList.toggle("live", live);
}

// Draws the latest frame, unless a network still runs an older one.
function showCamera() {
  if (!camera.fresh || shown().some((network) => network.busy || network.stale)) return;
  camera.fresh = false;
  drawing.showFrame(camera.video, camera.first);
  camera.first = false;
  // Twice a second can be read.
  if (!camera.rate || performance.now() - rateShown < 500) return;
  rateShown = performance.now();
  $("rate").textContent = `Camera: ${digits(camera.rate)} frames/s`;
}

function note(text) {
  $("camera-note").textContent = text;
  $("camera-note").hidden = !text;
}

// --------------------------------------------------------------------------------------------------------
// The pointer on the canvas

function position(event) {
  const box = $("input").getBoundingClientRect();
  const scale = model.size / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function makePointer() {
  const canvas = $("input");
  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    stopCamera();
    liftKey();
    key = null;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    drawing.begin(...position(event));
    canvas.focus({ preventScroll: true });
    hover(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    hover(event);
    if (event.pointerId !== pointer) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    drawing.move((passed.length ? passed : [event]).map(position));
  });
  const lift = (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    if (event.type === "pointercancel") drawing.cancel();
    else drawing.end();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => {
    if (!key) $("cursor").hidden = true;
  });
}

function hover(event) {
  if (event.pointerType === "touch" || key?.down) return;
  key = null;
  cursorAt(...position(event), false);
}

// Shows the ring of the brush at (x, y), in image pixels.
function cursorAt(x, y, pressed) {
  const cursor = $("cursor");
  cursor.hidden = false;
  cursor.dataset.x = x;
  cursor.dataset.y = y;
  cursor.classList.toggle("key", key !== null);
  cursor.classList.toggle("down", pressed);
  placeCursor();
}

function placeCursor() {
  const cursor = $("cursor");
  if (cursor.hidden) return;
  const round = ["brush", "eraser", "line"].includes(drawing.tool);
  const part = (value) => `${(100 * value) / model.size}%`;
  cursor.style.left = part(cursor.dataset.x);
  cursor.style.top = part(cursor.dataset.y);
  cursor.style.width = round ? part(drawing.width) : "0";
}

// --------------------------------------------------------------------------------------------------------
// The keyboard

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function liftKey() {
  if (!key?.down) return;
  key.down = false;
  drawing.end();
  cursorAt(key.x, key.y, false);
  say("Pen up");
}

function canvasKey(event) {
  const arrow = ARROWS[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || !(arrow || event.key === " " || event.key === "Enter" || event.key === "Escape")) return;
  event.preventDefault();
  if (pointer !== null) return;
  key ??= { x: model.size / 2, y: model.size / 2, down: false };
  if (arrow) {
    const step = Math.max(1, model.size / (event.shiftKey ? 8 : 64));
    const inside = (value) => Math.min(model.size, Math.max(0, value));
    [key.x, key.y] = [inside(key.x + arrow[0] * step), inside(key.y + arrow[1] * step)];
    if (key.down) drawing.move([[key.x, key.y]]);
    cursorAt(key.x, key.y, key.down);
  } else if (event.key === "Escape") {
    drawing.cancel();
    key.down = false;
    cursorAt(key.x, key.y, false);
    say("Stroke cancelled");
  } else if (key.down) {
    liftKey();
  } else {
    stopCamera();
    drawing.begin(key.x, key.y);
    key.down = drawing.stroke !== null;
    cursorAt(key.x, key.y, key.down);
    say(key.down ? "Pen down" : "Filled");
  }
}

const SHORTCUTS = {
  b: () => setTool("brush"),
  e: () => setTool("eraser"),
  l: () => setTool("line"),
  r: () => setTool("rectangle"),
  f: () => setTool("fill"),
  "[": () => setWidth(drawing.width - 1),
  "]": () => setWidth(drawing.width + 1),
  c: () => choose(networks[0]),
  t: () => choose(networks[1] ?? networks[0]),
  v: () => compare(!comparing),
  o: () => $("file").click(),
  p: () => $("camera").click(),
  s: () => save(false),
  S: () => save(true),
  Delete: () => $("clear").click(),
};

function pageKey(event) {
  const command = event.ctrlKey || event.metaKey;
  if (event.altKey || event.defaultPrevented || event.target.closest("select, [type=color]")) return;
  if (command && event.key.toLowerCase() === "z") (event.shiftKey ? $("redo") : $("undo")).click();
  else if (command && event.key.toLowerCase() === "y") $("redo").click();
  else if (command) return;
  else if (/^[1-9]$/.test(event.key)) $("palette").children[event.key - 1]?.click();
  else if (SHORTCUTS[event.key] ?? SHORTCUTS[event.key.toLowerCase()]) (SHORTCUTS[event.key] ?? SHORTCUTS[event.key.toLowerCase()])();
  else return;
  event.preventDefault();
}

// --------------------------------------------------------------------------------------------------------
// Images in and out

async function openImage(blob, announced = true) {
  try {
    // Read the values in the file without colour conversion, as training does.
    const image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    // Of a pair side by side, take the half that this network reads, as deploy/web/folder.py does.
    const pair = image.width === 2 * image.height;
    const part = pair ? (model.mode === "map" ? "right" : "left") : "middle";
    stopCamera();
    drawing.show(image, part);
    if (announced) say(pair ? `This is a pair of images: took its ${part} half` : "Image opened");
    image.close();
  } catch {
    say("This browser cannot read that file as an image");
  }
}

async function makeExamples() {
  for (const [i, file] of model.examples.entries()) {
    const button = element("button", { type: "button", title: `Example ${i + 1}` });
    button.append(element("img", { src: file, alt: `Example ${i + 1}` }));
    button.addEventListener("click", async () => openImage(await (await fetch(file)).blob()));
    $("examples").append(button);
  }
  if (!model.examples.length) return;
  await openImage(await (await fetch(model.examples[0])).blob(), false);
  drawing.past = [];
}

function makeFiles() {
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files[0]) openImage($("file").files[0]);
    $("file").value = "";
  });
  const imageOf = (transfer) => [...(transfer?.files ?? [])][0];
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const file = imageOf(event.dataTransfer);
    if (file) openImage(file);
  });
  document.addEventListener("paste", (event) => {
    const file = imageOf(event.clipboardData);
    if (file) openImage(file);
  });
  $("save").addEventListener("click", () => save(false));
  $("save-both").addEventListener("click", () => save(true));
}

// Saves the outputs on show side by side in one PNG, with the drawing before them if ``withDrawing``.
function save(withDrawing) {
  const { size } = model;
  const canvases = [...(withDrawing ? [$("input")] : []), ...shown().map(canvasOf)];
  const sheet = element("canvas", { width: canvases.length * size, height: size });
  const context = sheet.getContext("2d", { alpha: false });
  canvases.forEach((canvas, i) => context.drawImage(canvas, i * size, 0));
  const name = comparing ? "side-by-side" : current.facts.name;
  sheet.toBlob((blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: `${withDrawing ? "pair" : "output"}-${name}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Saved ${link.download}`);
  }, "image/png");
}

// --------------------------------------------------------------------------------------------------------
// The start

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

function say(text) {
  $("status").textContent = text;
}

async function start() {
  model = await (await fetch("model.json", { cache: "no-cache" })).json();
  document.title = $("title").textContent = model.title;
  document.body.dataset.mode = model.mode;
  if (model.mode === "photo") $("draw-heading").textContent = "Photo";
  for (const id of ["input", "output", "output-teacher"]) $(id).width = $(id).height = model.size;
  makeNetworks();
  makeCamera();
  drawing = new Drawing($("input"), model.palettes[0].colours[0].rgb, () => drawing && drawingChanged()); // not during its constructor
  makeTools();
  makePalette();
  makePointer();
  makeFiles();
  $("input").addEventListener("keydown", canvasKey);
  $("input").addEventListener("blur", liftKey);
  document.addEventListener("keydown", pageKey);
  for (const [id, act] of [["undo", () => drawing.undo()], ["redo", () => drawing.redo()], ["clear", () => drawing.clear()]]) {
    $(id).addEventListener("click", () => {
      stopCamera();
      liftKey();
      act();
    });
  }
  $("app").hidden = false;
  showSpeed();
  await makeExamples();
  for (const network of networks) network.sample ??= drawing.pixels;
  drawingChanged();
}

if (!window.cannotRun) {
  start().catch((error) => window.showMessage([`The page could not start: ${error.message}`, location.href, "Reload to try again."]));
}

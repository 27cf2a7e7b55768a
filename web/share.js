// A drawing as text for the end of an address, and back. It knows nothing about the page.
//
// The text is "1" (the version) and base64url of deflated bytes: width and height (2 bytes each), the number
// of colours minus one (1), red, green and blue of each, and the index of each pixel's colour.

const VERSION = "1";
const COLOURS = [256, 96, 32]; // tried in turn until the text is short enough
const LIMIT = 8000; // characters: messengers cut or refuse longer addresses
const SIDE = 2048; // a larger image is no drawing of this page

// image: ImageData -> {text, reduced}; reduced: the number of colours that are left if some were merged,
// else null. Throws an Error that says in plain words why there is no text.
export async function encode(image) {
  if (!self.CompressionStream) throw new Error("This browser cannot make links of drawings. Save it as PNG instead.");
  const counted = countColours(image);
  for (const limit of COLOURS) {
    if (limit !== COLOURS[0] && counted.size <= limit) continue;
    const text = VERSION + toBase64(await through(new CompressionStream("deflate-raw"), pack(image, palette(counted, limit))));
    if (text.length <= LIMIT) return { text, reduced: counted.size > limit ? limit : null };
  }
  throw new Error("This image has too much detail for a link. Save it as PNG and send that.");
}

// text: what `encode` made -> ImageData. Throws an Error that says in plain words what is wrong.
export async function decode(text) {
  if (!self.DecompressionStream) throw new Error("This browser cannot read drawings from links.");
  if (text[0] !== VERSION || !/^[\w-]+$/.test(text)) throw new Error("The link holds no drawing that this page can read.");
  try {
    return unpack(await through(new DecompressionStream("deflate-raw"), fromBase64(text.slice(1)), 5 + 3 * 256 + SIDE * SIDE));
  } catch {
    throw new Error("The drawing in the link is damaged: perhaps a part of the link is missing.");
  }
}

// --------------------------------------------------------------------------------------------------------
// Pixels and bytes; a colour is one number, red in the highest byte

const colourAt = (data, i) => (data[4 * i] << 16) | (data[4 * i + 1] << 8) | data[4 * i + 2];

function countColours({ data, width, height }) {
  const counts = new Map();
  for (let i = 0; i < width * height; i++) {
    const colour = colourAt(data, i);
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  return counts;
}

// Chooses at most ``limit`` of the colours counted -> [[colour, the colours that it stands for]...]: boxes of colours are halved, the one with most pixels times its
// widest channel first (median cut); of each the most frequent colour is taken, so that flat areas stay exact.
function palette(counted, limit) {
  const channel = (colour, bits) => (colour >> bits) & 255;
  const measured = (colours) => {
    const widths = [16, 8, 0].map((bits) => {
      const values = colours.map(([colour]) => channel(colour, bits));
      return [values.reduce((a, b) => Math.max(a, b)) - values.reduce((a, b) => Math.min(a, b)), bits];
    });
    const [width, bits] = widths.reduce((a, b) => (b[0] > a[0] ? b : a));
    const pixels = colours.reduce((sum, [, count]) => sum + count, 0);
    return { colours, bits, pixels, weight: width * pixels };
  };
  const boxes = [measured([...counted])];
  while (boxes.length < Math.min(limit, counted.size)) {
    const at = boxes.reduce((best, box, i) => (box.weight > boxes[best].weight ? i : best), 0);
    const { colours, bits, pixels } = boxes[at];
    colours.sort(([a], [b]) => channel(a, bits) - channel(b, bits));
    let middle = 0;
    for (let seen = 0; middle < colours.length - 1 && (middle === 0 || seen + colours[middle][1] <= pixels / 2); middle++) {
      seen += colours[middle][1];
    }
    boxes.splice(at, 1, measured(colours.slice(0, middle)), measured(colours.slice(middle)));
  }
  return boxes.map(({ colours }) => [colours.reduce((a, b) => (b[1] > a[1] ? b : a))[0], colours.map(([colour]) => colour)]);
}

// chosen: as `palette` gives it
function pack({ data, width, height }, chosen) {
  const index = new Map(chosen.flatMap(([, colours], i) => colours.map((colour) => [colour, i])));
  const start = 5 + 3 * chosen.length;
  const bytes = new Uint8Array(start + width * height);
  bytes.set([width >> 8, width & 255, height >> 8, height & 255, chosen.length - 1]);
  chosen.forEach(([colour], i) => bytes.set([colour >> 16, (colour >> 8) & 255, colour & 255], 5 + 3 * i));
  for (let i = 0; i < width * height; i++) bytes[start + i] = index.get(colourAt(data, i));
  return bytes;
}

function unpack(bytes) {
  const [width, height, count] = [bytes[0] * 256 + bytes[1], bytes[2] * 256 + bytes[3], bytes[4] + 1];
  const start = 5 + 3 * count;
  if (!width || !height || width > SIDE || height > SIDE || bytes.length !== start + width * height) throw new RangeError("wrong length");
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const colour = bytes[start + i];
    if (colour >= count) throw new RangeError("no such colour");
    image.data.set([...bytes.subarray(5 + 3 * colour, 8 + 3 * colour), 255], 4 * i);
  }
  return image;
}

// --------------------------------------------------------------------------------------------------------
// Bytes and text

// Sends bytes through a stream. limit: of what comes out, since a short text can inflate to gigabytes.
async function through(stream, bytes, limit = Infinity) {
  const writer = stream.writable.getWriter();
  writer.write(bytes).catch(() => {}); // the reader gets the same error
  writer.close().catch(() => {});
  const reader = stream.readable.getReader();
  const parts = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > limit) {
      reader.cancel().catch(() => {});
      throw new RangeError("too long");
    }
    parts.push(value);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

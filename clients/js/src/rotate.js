/** The orientation of EXIF after a quarter turn clockwise, by the one before: 1 to 8. */
const TURNED = [6, 6, 7, 8, 5, 2, 3, 4, 1];

const ORIENTATION = 0x0112;
/** Bytes of a directory entry. */
const ENTRY = 12;
/** The longest content of a segment of a JPEG. */
const SEGMENT = 65_533;
const EXIF = [0x45, 0x78, 0x69, 0x66, 0, 0];
const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/**
 * Turns a photo clockwise by 90 degrees, without loss: it changes the orientation in the EXIF, and no pixel. The server applies it.
 * Drawing the photo on a canvas would encode it a second time, and drop its colour profile.
 *
 * @param {Blob} photo A JPEG or a PNG.
 * @returns {Promise<Blob | undefined>} The turned photo, or undefined if its format is another one.
 */
export async function rotate(photo) {
  const bytes = new Uint8Array(await photo.arrayBuffer());
  const parts = startsWith(bytes, 0, PNG) ? turnedPng(bytes) : startsWith(bytes, 0, [0xff, 0xd8]) ? turnedJpeg(bytes) : undefined;
  return parts && new Blob(parts, { type: photo.type });
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Uint8Array<ArrayBuffer>[] | undefined}
 */
function turnedJpeg(bytes) {
  const view = new DataView(bytes.buffer);
  let insertion = 2;
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff; ) {
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++; // a fill byte
      continue;
    }
    // The scan, or what has no length.
    if (marker === 0xda || marker === 0xd9 || (marker >= 0xd0 && marker <= 0xd7)) break;
    const end = at + 2 + view.getUint16(at + 2);
    if (end > bytes.length) return undefined;
    if (marker === 0xe1 && startsWith(bytes, at + 4, EXIF)) {
      const tiff = turnedTiff(bytes.slice(at + 10, end));
      return tiff && withExif(bytes, at, end, tiff);
    }
    // JFIF comes first where there is one.
    if (marker === 0xe0) insertion = end;
    at = end;
  }
  return withExif(bytes, insertion, insertion, newTiff());
}

/**
 * Puts a segment with EXIF in the place of the bytes between two offsets.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {number} from
 * @param {number} to
 * @param {Uint8Array<ArrayBuffer>} tiff
 */
function withExif(bytes, from, to, tiff) {
  const length = 2 + EXIF.length + tiff.length;
  if (length - 2 > SEGMENT) return undefined;
  const head = new Uint8Array([0xff, 0xe1, length >> 8, length & 0xff, ...EXIF]);
  return [bytes.subarray(0, from), head, tiff, bytes.subarray(to)];
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Uint8Array<ArrayBuffer>[] | undefined}
 */
function turnedPng(bytes) {
  const view = new DataView(bytes.buffer);
  let header = 0;
  for (let at = PNG.length; at + 12 <= bytes.length; ) {
    const end = at + 12 + view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (end > bytes.length) return undefined;
    if (name === 'eXIf') {
      const tiff = turnedTiff(bytes.slice(at + 8, end - 4));
      return tiff && [bytes.subarray(0, at), exifChunk(tiff), bytes.subarray(end)];
    }
    if (name === 'IHDR') header = end;
    at = end;
  }
  // After IHDR every chunk may come but those that the first IDAT ends.
  return header === 0 ? undefined : [bytes.subarray(0, header), exifChunk(newTiff()), bytes.subarray(header)];
}

/** @param {Uint8Array<ArrayBuffer>} tiff */
function exifChunk(tiff) {
  const chunk = new Uint8Array(tiff.length + 12);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, tiff.length);
  chunk.set([0x65, 0x58, 0x49, 0x66], 4); // eXIf
  chunk.set(tiff, 8);
  view.setUint32(8 + tiff.length, crc32(chunk.subarray(4, 8 + tiff.length)));
  return chunk;
}

/** Returns EXIF that only says that a photo is turned once. */
function newTiff() {
  return new Uint8Array([0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, TURNED[1], 0, 0, 0, 0, 0, 0]);
}

/**
 * Returns EXIF with the next orientation, or undefined if it is broken.
 * @param {Uint8Array<ArrayBuffer>} tiff
 */
function turnedTiff(tiff) {
  if (tiff.length < 14) return undefined;
  const view = new DataView(tiff.buffer);
  const isLittle = tiff[0] === 0x49;
  const first = view.getUint32(4, isLittle);
  if (first + 2 > tiff.length) return undefined;
  const count = view.getUint16(first, isLittle);
  const end = first + 2 + count * ENTRY;
  if (end + 4 > tiff.length) return undefined;
  let place = end;
  for (let at = first + 2; at < end; at += ENTRY) {
    const tag = view.getUint16(at, isLittle);
    if (tag === ORIENTATION) {
      const before = view.getUint16(at + 2, isLittle) === 3 ? view.getUint16(at + 8, isLittle) : 1;
      view.setUint16(at + 2, 3, isLittle);
      view.setUint32(at + 4, 1, isLittle);
      view.setUint32(at + 8, 0);
      view.setUint16(at + 8, TURNED[before] ?? TURNED[1], isLittle);
      return tiff;
    }
    if (tag > ORIENTATION) place = Math.min(place, at);
  }
  // The directory has no orientation. A longer copy of it goes to the end, so that all other offsets stay.
  const copy = tiff.length + (tiff.length % 2);
  const longer = new Uint8Array(copy + 2 + (count + 1) * ENTRY + 4);
  const out = new DataView(longer.buffer);
  longer.set(tiff);
  out.setUint32(4, copy, isLittle);
  out.setUint16(copy, count + 1, isLittle);
  longer.set(tiff.subarray(first + 2, place), copy + 2);
  const entry = copy + place - first;
  out.setUint16(entry, ORIENTATION, isLittle);
  out.setUint16(entry + 2, 3, isLittle);
  out.setUint32(entry + 4, 1, isLittle);
  out.setUint16(entry + 8, TURNED[1], isLittle);
  longer.set(tiff.subarray(place, end + 4), entry + ENTRY);
  return longer;
}

/**
 * @param {Uint8Array} bytes
 * @param {number} at
 * @param {number[]} expected
 */
function startsWith(bytes, at, expected) {
  return expected.every((byte, index) => bytes[at + index] === byte);
}

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
  }
  return ~sum >>> 0;
}

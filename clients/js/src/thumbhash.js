/** The longer side of a placeholder in pixels. */
const LONGER_SIDE = 32;

/**
 * Decodes a ThumbHash (https://evanw.github.io/thumbhash): a small picture of a photo in about 25 bytes, as coefficients of cosines.
 *
 * @param {string} base64
 * @returns {{width: number, height: number, rgba: Uint8ClampedArray<ArrayBuffer>}}
 */
export function thumbHashToRgba(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const head = bytes[0] | (bytes[1] << 8) | (bytes[2] << 16);
  const scales = bytes[3] | (bytes[4] << 8);
  const hasAlpha = head >> 23 === 1;
  const isLandscape = scales >> 15 === 1;
  const most = hasAlpha ? 5 : 7;
  const across = Math.max(3, isLandscape ? most : scales & 7);
  const down = Math.max(3, isLandscape ? scales & 7 : most);

  // After the head each coefficient is a nibble, the lower one of a byte first.
  let nibble = hasAlpha ? 12 : 10;
  const coefficients = (/** @type {number} */ columns, /** @type {number} */ rows, /** @type {number} */ scale) => {
    const all = [];
    for (let row = 0; row < rows; row++) {
      for (let column = row === 0 ? 1 : 0; column * rows < columns * (rows - row); column++, nibble++) {
        const value = (bytes[nibble >> 1] >> ((nibble & 1) * 4)) & 15;
        all.push({ column, row, value: (value / 7.5 - 1) * scale * 2 });
      }
    }
    return all;
  };
  const luma = coefficients(across, down, ((head >> 18) & 31) / 31);
  const yellowBlue = coefficients(3, 3, (((scales >> 3) & 63) / 63) * 1.25);
  const redGreen = coefficients(3, 3, (((scales >> 9) & 63) / 63) * 1.25);
  const alpha = hasAlpha ? coefficients(5, 5, (bytes[5] >> 4) / 15) : [];
  const alphaMean = hasAlpha ? (bytes[5] & 15) / 15 : 1;

  const ratio = across / down;
  const width = Math.round(ratio > 1 ? LONGER_SIDE : LONGER_SIDE * ratio);
  const height = Math.round(ratio > 1 ? LONGER_SIDE / ratio : LONGER_SIDE);
  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      const sum = (/** @type {ReturnType<typeof coefficients>} */ terms, /** @type {number} */ mean) =>
        terms.reduce((total, { column, row, value }) => {
          const wave = Math.cos((Math.PI / width) * (x + 0.5) * column) * Math.cos((Math.PI / height) * (y + 0.5) * row);
          return total + value * wave;
        }, mean);
      const l = sum(luma, (head & 63) / 63);
      const p = sum(yellowBlue, ((head >> 6) & 63) / 31.5 - 1);
      const q = sum(redGreen, ((head >> 12) & 63) / 31.5 - 1);
      const blue = l - (2 / 3) * p;
      const red = (3 * l - blue + q) / 2;
      rgba.set([red * 255, (red - q) * 255, blue * 255, sum(alpha, alphaMean) * 255], at);
    }
  }
  return { width, height, rgba };
}

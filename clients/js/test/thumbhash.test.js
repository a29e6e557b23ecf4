import assert from 'node:assert/strict';
import { test } from 'node:test';
import { thumbHashToRgba } from '../src/index.js';

/** Writes a ThumbHash of a landscape by its fields. `waves` are the coefficients of luma, from 0 to 15. */
function hash({ luma, yellowBlue, redGreen, scale = 0, rows = 5, waves = [] }) {
  const head = luma | (yellowBlue << 6) | (redGreen << 12) | (scale << 18);
  const bytes = [head & 255, (head >> 8) & 255, head >> 16, rows, 0x80];
  const nibbles = [...waves, ...Array(60).fill(7)].slice(0, 60);
  for (let at = 0; at < nibbles.length; at += 2) bytes.push(nibbles[at] | (nibbles[at + 1] << 4));
  return Buffer.from(bytes).toString('base64');
}

const pixel = ({ width, rgba }, x, y) => [...rgba.subarray((y * width + x) * 4, (y * width + x) * 4 + 4)];
const isNear = (pixel, expected) => pixel.every((value, channel) => Math.abs(value - expected[channel]) <= 6);

test('mean colour fills a placeholder without waves', () => {
  // Luma is the mean of the channels, yellow-blue (r + g) / 2 - b, and red-green r - g.
  for (const [fields, expected] of [
    [{ luma: 63, yellowBlue: 32, redGreen: 32 }, [255, 255, 255, 255]],
    [{ luma: 21, yellowBlue: 47, redGreen: 63 }, [255, 0, 0, 255]],
    [{ luma: 21, yellowBlue: 0, redGreen: 32 }, [0, 0, 255, 255]],
  ]) {
    const shown = thumbHashToRgba(hash(fields));
    for (const [x, y] of [[0, 0], [31, 22]]) assert.ok(isNear(pixel(shown, x, y), expected), `${pixel(shown, x, y)}`);
  }
});

test('sides are those of a landscape of seven to five', () => {
  const { width, height } = thumbHashToRgba(hash({ luma: 30, yellowBlue: 32, redGreen: 32 }));
  assert.deepEqual([width, height], [32, 23]);
});

test('first wave makes the left side lighter', () => {
  const shown = thumbHashToRgba(hash({ luma: 32, yellowBlue: 32, redGreen: 32, scale: 31, waves: [15, ...Array(21).fill(7)] }));
  assert.ok(pixel(shown, 2, 11)[1] > 230 && pixel(shown, 29, 11)[1] < 30);
});

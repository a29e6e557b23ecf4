import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { rotate } from '../src/index.js';

const NEXT = { 1: 6, 6: 3, 3: 8, 8: 1, 2: 7, 7: 4, 4: 5, 5: 2 };
const SOI = [0xff, 0xd8];
const JFIF = [0xff, 0xe0, 0, 4, 1, 2];
const REST = [0xff, 0xda, 0, 2, 9, 9, 9, 0xff, 0xd9];

const entry = (order, tag, value) => {
  const bytes = Buffer.alloc(12);
  if (order === 'II') {
    bytes.writeUInt16LE(tag, 0), bytes.writeUInt16LE(3, 2), bytes.writeUInt32LE(1, 4), bytes.writeUInt16LE(value, 8);
  } else {
    bytes.writeUInt16BE(tag, 0), bytes.writeUInt16BE(3, 2), bytes.writeUInt32BE(1, 4), bytes.writeUInt16BE(value, 8);
  }
  return bytes;
};
const tiff = (order, entries) => {
  const head = order === 'II' ? [0x49, 0x49, 42, 0, 8, 0, 0, 0, entries.length, 0] : [0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, entries.length];
  return Buffer.concat([Buffer.from(head), ...entries.map(([tag, value]) => entry(order, tag, value)), Buffer.alloc(4)]);
};
const app1 = (content) => {
  const exif = Buffer.concat([Buffer.from('Exif\0\0'), content]);
  return Buffer.concat([Buffer.from([0xff, 0xe1, (exif.length + 2) >> 8, (exif.length + 2) & 255]), exif]);
};
const jpeg = (...parts) => new Blob([Buffer.concat([SOI, ...parts, REST].map((part) => Buffer.from(part)))], { type: 'image/jpeg' });
const bytesOf = async (blob) => Buffer.from(await blob.arrayBuffer());

/** Reads tags of EXIF, without what is tested. */
function tags(content) {
  const little = content.toString('latin1', 0, 2) === 'II';
  const [u16, u32] = little
    ? [(at) => content.readUInt16LE(at), (at) => content.readUInt32LE(at)]
    : [(at) => content.readUInt16BE(at), (at) => content.readUInt32BE(at)];
  const first = u32(4);
  return Array.from({ length: u16(first) }, (_, index) => [u16(first + 2 + index * 12), u16(first + 10 + index * 12)]);
}
async function tagsOfJpeg(blob) {
  const bytes = await bytesOf(blob);
  const at = bytes.indexOf('Exif\0\0', 0, 'latin1');
  return tags(bytes.subarray(at + 6, at - 2 + bytes.readUInt16BE(at - 2)));
}

for (const order of ['II', 'MM']) {
  test(`orientation in EXIF (${order}) becomes the next one, and nothing else changes`, async () => {
    for (const [before, after] of Object.entries(NEXT)) {
      const [photo, expected] = [Number(before), after].map((value) => jpeg(JFIF, app1(tiff(order, [[0x0110, 5], [0x0112, value]]))));
      const turned = await rotate(photo);
      assert.deepEqual(await bytesOf(turned), await bytesOf(expected));
      assert.equal(turned.type, 'image/jpeg');
    }
  });

  test(`EXIF (${order}) without an orientation gets one in its place`, async () => {
    const turned = await rotate(jpeg(app1(tiff(order, [[0x010f, 1], [0x0110, 2], [0x0131, 3]]))));
    assert.deepEqual(await tagsOfJpeg(turned), [[0x010f, 1], [0x0110, 2], [0x0112, 6], [0x0131, 3]]);
    const bytes = await bytesOf(turned);
    assert.deepEqual(bytes.subarray(-REST.length), Buffer.from(REST));
  });
}

test('JPEG without EXIF gets it after JFIF', async () => {
  const bytes = await bytesOf(await rotate(jpeg(JFIF)));
  assert.deepEqual(bytes.subarray(0, 8), Buffer.from([...SOI, ...JFIF]));
  assert.deepEqual(await tagsOfJpeg(new Blob([bytes])), [[0x0112, 6]]);
});

test('four turns give the first orientation', async () => {
  let photo = jpeg();
  for (let turn = 0; turn < 4; turn++) photo = await rotate(photo);
  assert.deepEqual(await tagsOfJpeg(photo), [[0x0112, 1]]);
});

const chunk = (name, content) => {
  const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(name), content, Buffer.alloc(4)]);
  bytes.writeUInt32BE(content.length, 0);
  return bytes;
};
const png = (...chunks) => new Blob([Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', Buffer.alloc(13)), ...chunks])]);

test('PNG gets EXIF with a checksum, or the next orientation', async () => {
  for (const [photo, expected] of [
    [png(chunk('IDAT', Buffer.alloc(9))), 6],
    [png(chunk('eXIf', tiff('II', [[0x0112, 3]])), chunk('IDAT', Buffer.alloc(9))), 8],
  ]) {
    const bytes = await bytesOf(await rotate(photo));
    const at = bytes.indexOf('eXIf');
    const end = at + 4 + bytes.readUInt32BE(at - 4);
    assert.deepEqual(tags(bytes.subarray(at + 4, end)), [[0x0112, expected]]);
    assert.equal(bytes.indexOf('eXIf', end), -1);
    if (crc32) assert.equal(bytes.readUInt32BE(end), crc32(bytes.subarray(at, end)));
  }
});

test('broken and unknown files are not turned', async () => {
  const cut = jpeg(app1(tiff('II', [[0x0112, 3]]))).slice(0, 30);
  const endless = Buffer.from(tiff('MM', [[0x0112, 3]]));
  endless.writeUInt16BE(9999, 8);
  for (const file of [new Blob(['text']), new Blob([]), cut, jpeg(app1(endless)), png().slice(0, 20)]) {
    assert.equal(await rotate(file), undefined);
  }
});

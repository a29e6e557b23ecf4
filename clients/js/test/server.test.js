// Against a real server, which `cargo test` starts: tests/it/js_client.rs. VINTEDBOT_TEST_PROXY cuts each connection after a while.
import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Album, MemoryStore, ProblemError, rotate, uploadPhoto } from '../src/index.js';

const { VINTEDBOT_TEST_SERVER: server, VINTEDBOT_TEST_PROXY: proxy, VINTEDBOT_TEST_PHOTOS: photos } = process.env;
const skip = server === undefined && 'VINTEDBOT_TEST_SERVER is not set';

const read = async (name) => new File([await readFile(join(photos, name))], name, { type: 'image/jpeg' });
const album = async () => {
  const names = (await readdir(photos)).filter((name) => name.startsWith('photo '));
  return Promise.all(names.sort((a, b) => parseInt(a.slice(6)) - parseInt(b.slice(6))).map(read));
};
const urls = (draft) => draft.photos.map(({ media }) => media.url);

test('album goes through cut connections, also after the process ended, and makes one draft', { skip }, async () => {
  const files = await album();
  const store = new MemoryStore();
  const first = await Album.open({ server: proxy, store });
  for (const file of files) first.add(file);
  const progress = [];
  await new Promise((resolve) => {
    first.subscribe(() => {
      progress.push(first.photos.reduce((sum, { sent }) => sum + sent, 0));
      if (first.photos.filter(({ state }) => state === 'stored').length >= 3) resolve();
    });
  });
  first.close();
  assert.ok(progress.length > 3);

  const second = await Album.open({ server: proxy, store });
  second.move(second.photos[0].id, 2);
  const draft = await second.createDraft({ title: 'Blue shoes' });
  const plain = await Promise.all(files.map(async (file) => (await uploadPhoto(file, { server })).media.url));
  assert.deepEqual(urls(draft), [plain[1], plain[2], plain[0], ...plain.slice(3)]);

  // The answer may be lost, and the request sent again.
  const again = await Album.open({ server: proxy, store });
  assert.equal((await again.createDraft()).id, draft.id);
  const { items } = await (await fetch(`${server}/api/v1/listings?limit=100`)).json();
  assert.deepEqual(items.map(({ id, title }) => [id, title]), [[draft.id, 'Blue shoes']]);
});

test('broken photo is refused with its problem, and named', { skip }, async () => {
  const error = await uploadPhoto(await read('broken.jpg'), { server }).catch((error) => error);
  assert.ok(error instanceof ProblemError, error);
  assert.deepEqual([error.status, error.kind], [422, 'truncated-image']);
  const text = await uploadPhoto(new Blob(['text'.repeat(1e6)]), { server }).catch((error) => error);
  assert.deepEqual([text.status, text.kind], [415, 'unsupported-image']);
});

test('turned photo is stored as the one with the next orientation', { skip }, async () => {
  const next = { 1: 6, 2: 7, 3: 8, 4: 5, 5: 2, 6: 3, 7: 4, 8: 1 };
  const stored = async (photo) => (await uploadPhoto(photo, { server })).media.url;
  for (const [before, after] of Object.entries(next)) {
    const turned = await stored(await rotate(await read(`orientation ${before}.jpg`)));
    assert.equal(turned, await stored(await read(`orientation ${after}.jpg`)), `${before}`);
  }
  // A file that says nothing of its orientation is upright.
  assert.equal(await stored(await rotate(await read('plain.jpg'))), await stored(await read('orientation 6.jpg')));
  assert.equal(await stored(await rotate(await read('plain.png'))), await stored(await rotate(await rotate(await rotate(await rotate(await rotate(await read('plain.png'))))))));
});

test('removed photo is gone from the server', { skip }, async () => {
  const photos = new Album({ server });
  const photo = photos.add(await read('plain.jpg'));
  await new Promise((resolve) => photos.subscribe(() => photo.state === 'stored' && resolve()));
  photos.remove(photo.id);
  const gone = async () => (await fetch(`${server}/api/v1/uploads/${photo.upload}`)).status === 404;
  while (!(await gone())) await new Promise((resolve) => setTimeout(resolve, 10));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Album, MemoryStore } from '../src/index.js';
import { answer, problem, shortPauses } from './fakes.js';

/** A server that answers each upload by what its bytes say. */
function server() {
  const log = { posts: [], drafts: [], atOnce: 0, most: 0, removed: [] };
  let count = 0;
  const send = async ({ method, url, headers, body, signal }) => {
    signal?.throwIfAborted();
    if (method === 'DELETE') {
      log.removed.push(url.split('/').pop());
      return answer(204);
    }
    if (url.endsWith('/listings')) {
      log.drafts.push({ key: headers['Idempotency-Key'], ...JSON.parse(body) });
      const refusal = log.refusal?.();
      if (refusal !== undefined) return refusal;
      return answer(201, {}, { id: 7, ...JSON.parse(body) });
    }
    log.most = Math.max(log.most, ++log.atOnce);
    await new Promise((resolve) => setTimeout(resolve, 2));
    log.atOnce--;
    const text = await body.text();
    log.posts.push(text);
    if (text === 'broken') return problem(422, 'corrupt-image');
    if (text === 'secret') return problem(401, 'token-missing');
    const id = `u-${text}-${++count}`;
    const media = { id: count, url: `/media/${text}.jpg`, width: 1, height: 1, mime: 'image/jpeg' };
    return answer(201, { Location: `/api/v1/uploads/${id}` }, { id, state: 'finished', media });
  };
  return { log, send };
}

const add = (album, ...texts) => texts.map((text) => album.add(new Blob([text]), `${text}.jpg`));
/** Waits until a function returns true. */
async function until(holds) {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 1));
}
const uploads = (draft) => draft.uploads.map((id) => id.split('-')[1]);

test('draft has the stored photos in their order and not the refused one', async () => {
  const { log, send } = server();
  const album = new Album({ send });
  const [a, , c, bad] = add(album, 'a', 'b', 'c', 'broken', 'd');
  album.move(c.id, 0);
  album.move(a.id, 3);
  const draft = await album.createDraft({ title: 'Shoes' });
  assert.deepEqual(uploads(draft), ['c', 'b', 'a', 'd']);
  assert.equal(draft.title, 'Shoes');
  assert.deepEqual([bad.state, bad.problem.detail], ['refused', 'It is corrupt-image.']);
  assert.equal(log.most, 3);
  assert.throws(() => album.remove(a.id), /already/);
});

test('album that is opened again continues, and its draft is asked for with the same key and body', async (context) => {
  const { log, send } = server();
  const store = new MemoryStore();
  const first = new Album({ send: () => new Promise(() => {}), store });
  add(first, 'a', 'b');
  await until(async () => (await store.get('album'))?.photos.length === 2);
  first.close();

  const second = await Album.open({ send, store });
  assert.deepEqual(second.photos.map(({ name, state }) => [name, state]), [['a.jpg', 'sending'], ['b.jpg', 'sending']]);
  assert.equal(second.photos[0].key, first.photos[0].key);
  // Otherwise it goes on, and may save its state over that of the next one.
  second.close();
  log.refusal = () => problem(503, 'busy');
  const error = await new Album({ store, send }).createDraft().catch((error) => error);
  assert.equal(error.message, 'No photo is stored.');
  shortPauses(context);
  await assert.rejects((await Album.open({ send, store, attempts: 2 })).createDraft({ title: 'x' }), { status: 503 });
  log.refusal = undefined;
  const third = await Album.open({ send, store });
  assert.ok(third.isCreating);
  await third.createDraft({ title: 'other' });
  assert.equal(new Set(log.drafts.map(({ key, title, uploads }) => JSON.stringify([key, title, uploads]))).size, 1);
  assert.equal((await Album.open({ send, store })).draft.id, 7);
});

test('missing token stops a photo, and retry sends it again', async () => {
  const { send } = server();
  const album = new Album({ send });
  const [photo] = add(album, 'secret');
  await assert.rejects(album.createDraft(), { status: 401 });
  assert.equal(photo.state, 'stopped');
  album.replace(photo.id, new Blob(['fine']));
  album.retry();
  assert.deepEqual(uploads(await album.createDraft()), ['fine']);
});

test('replaced photo has another upload, and the first one is removed', async () => {
  const { log, send } = server();
  const album = new Album({ send });
  const [photo] = add(album, 'a');
  const { key } = photo;
  await until(() => photo.state === 'stored');
  album.replace(photo.id, new Blob(['turned']));
  assert.deepEqual(uploads(await album.createDraft()), ['turned']);
  assert.notEqual(photo.key, key);
  assert.deepEqual(log.removed, ['u-a-1']);
});

test('photo whose upload expired is sent again before the next attempt', async () => {
  const { log, send } = server();
  const album = new Album({ send });
  add(album, 'broken', 'a', 'b');
  log.refusal = () => problem(422, 'unknown-upload', {}, { file_index: 1 });
  await assert.rejects(album.createDraft(), { kind: 'unknown-upload' });
  log.refusal = undefined;
  assert.deepEqual(uploads(await album.createDraft()), ['a', 'b']);
  assert.deepEqual(log.posts.filter((text) => text === 'b').length, 2);
});

test('album without photos makes no draft', async () => {
  const { log, send } = server();
  await assert.rejects(new Album({ send }).createDraft(), /No photo/);
  assert.equal(log.drafts.length, 0);
});

test('store that fails leaves the album in memory', async () => {
  const { send } = server();
  const store = { get: async () => undefined, put: () => Promise.reject(new Error('full')), delete: async () => {} };
  const album = await Album.open({ send, store });
  add(album, 'a');
  assert.deepEqual(uploads(await album.createDraft()), ['a']);
  assert.equal(album.isKept, false);
});

test('cleared album is empty when it is opened again', async () => {
  const { log, send } = server();
  const store = new MemoryStore();
  const album = await Album.open({ send, store });
  const [photo] = add(album, 'a');
  await until(() => photo.state === 'stored');
  await album.clear();
  await until(() => log.removed.length > 0);
  assert.deepEqual(log.removed, ['u-a-1']);
  assert.equal(await store.get(photo.id), undefined);
  assert.deepEqual((await Album.open({ send, store })).photos, []);
});

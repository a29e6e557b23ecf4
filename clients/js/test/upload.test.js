import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NetworkError, ProblemError, uploadPhoto } from '../src/index.js';
import { Gate } from '../src/retry.js';
import { FakeServer, answer, problem, shortPauses } from './fakes.js';

const MIB = 1 << 20;
const photo = new Blob([new Uint8Array(MIB)], { type: 'image/jpeg' });

test('small photo takes one request', async () => {
  const server = new FakeServer();
  const upload = await uploadPhoto(new Blob(['small']), { send: server.send });
  assert.equal(upload.media.url, '/media/x.jpg');
  assert.deepEqual(server.log, ['POST']);
  assert.equal(server.requests[0].headers['Upload-Complete'], '?1');
});

test('large photo takes two requests', async () => {
  const server = new FakeServer();
  await uploadPhoto(photo, { send: server.send, token: () => 'abc' });
  assert.deepEqual(server.log, ['POST', 'PATCH 262144']);
  assert.equal(server.requests[1].headers.Authorization, 'Bearer abc');
});

test('chunks limit each body', async () => {
  const server = new FakeServer();
  await uploadPhoto(photo, { send: server.send, chunkBytes: 400_000 });
  assert.deepEqual(server.log, ['POST', 'PATCH 262144', 'PATCH 662144']);
});

test('cut connection is continued at the offset of the server', async (context) => {
  shortPauses(context);
  const server = new FakeServer();
  const cut = (_, it) => {
    it.received += 1000;
  };
  server.mishaps = [undefined, cut, undefined, cut];
  await uploadPhoto(photo, { send: server.send });
  assert.deepEqual(server.log, ['POST', 'PATCH 262144', 'HEAD', 'PATCH 263144', 'HEAD', 'PATCH 264144']);
});

test('lost answer to the last byte is found by its state', async (context) => {
  shortPauses(context);
  const server = new FakeServer();
  const lost = (request, it) => void it.answer(request);
  server.mishaps = [undefined, lost];
  const upload = await uploadPhoto(photo, { send: server.send });
  assert.equal(upload.media.id, 1);
  assert.deepEqual(server.log, ['POST', 'PATCH 262144', 'HEAD', 'GET']);
});

test('lost answer to the creation is asked for with the same key', async (context) => {
  shortPauses(context);
  const server = new FakeServer();
  server.mishaps = [() => undefined];
  await uploadPhoto(photo, { send: server.send });
  const keys = server.requests.filter(({ method }) => method === 'POST').map(({ headers }) => headers['Idempotency-Key']);
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
});

test('upload that expired begins again', async (context) => {
  shortPauses(context);
  const server = new FakeServer();
  server.mishaps = [() => answer(404), () => problem(404, 'not-found')];
  await uploadPhoto(photo, { send: server.send, id: 'old' });
  assert.deepEqual(server.log, ['HEAD', 'GET', 'POST', 'PATCH 262144']);
});

test('upload that failed earlier gives its problem', async () => {
  const server = new FakeServer();
  const failed = { id: 'old', state: 'failed', problem: { type: 'urn:x:corrupt-image', title: '', status: 422, detail: 'Broken.' } };
  server.mishaps = [() => answer(404), () => answer(200, {}, failed)];
  await assert.rejects(uploadPhoto(photo, { send: server.send, id: 'old' }), { kind: 'corrupt-image', message: 'Broken.' });
});

test('refused photo is a typed error and is not sent again', async () => {
  const server = new FakeServer();
  server.mishaps = [() => problem(415, 'unsupported-image', {}, { request_id: 'r1' })];
  const error = await uploadPhoto(photo, { send: server.send }).catch((error) => error);
  assert.ok(error instanceof ProblemError);
  assert.deepEqual([error.status, error.kind, error.problem.request_id], [415, 'unsupported-image', 'r1']);
  assert.equal(server.requests.length, 1);
});

test('answer of a proxy that is no problem is an error with its status', async () => {
  const send = async () => answer(403, {}, '<html>no</html>');
  await assert.rejects(uploadPhoto(photo, { send }), { name: 'ProblemError', status: 403, kind: 'blank' });
});

test('pause is what Retry-After says, and holds all uploads of the gate', async (context) => {
  const pauses = shortPauses(context);
  const gate = new Gate();
  const closed = [];
  gate.close = (seconds) => closed.push(seconds);
  const server = new FakeServer();
  server.mishaps = [() => problem(429, 'rate-limited', { 'Retry-After': '7' })];
  await uploadPhoto(photo, { send: server.send, gate });
  assert.deepEqual(closed, [7]);
  assert.ok(pauses[0] >= 7000 && pauses[0] <= 7125, `${pauses}`);
});

test('pauses without Retry-After grow and have jitter', async (context) => {
  const pauses = shortPauses(context);
  const send = async () => Promise.reject(new NetworkError('away'));
  await assert.rejects(uploadPhoto(photo, { send, attempts: 9 }), NetworkError);
  assert.equal(pauses.length, 8);
  pauses.forEach((pause, index) => {
    const longest = Math.min(30_000, 500 * 2 ** index);
    assert.ok(pause >= longest / 2 && pause <= longest, `${index}: ${pause}`);
  });
});

test('failures are counted anew after progress', async (context) => {
  shortPauses(context);
  const server = new FakeServer();
  const cut = (_, it) => {
    it.received += 1000;
  };
  server.mishaps = Array.from({ length: 21 }, (_, index) => (index % 2 === 1 ? cut : undefined));
  await uploadPhoto(photo, { send: server.send, attempts: 3 });
  assert.equal(server.requests.length, 22);
});

test('abort ends a pause', async () => {
  const controller = new AbortController();
  const send = async () => Promise.reject(new NetworkError('away'));
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(uploadPhoto(photo, { send, signal: controller.signal }), { name: 'AbortError' });
});

test('progress ends at the size of the photo', async () => {
  const server = new FakeServer();
  const seen = [];
  const send = async (request) => {
    request.onSent?.(request.body.size + 100);
    return server.send(request);
  };
  await uploadPhoto(photo, { send, onProgress: (sent, total) => seen.push([sent, total]) });
  assert.deepEqual(seen, [[262_144, MIB], [262_144, MIB], [MIB, MIB]]);
});

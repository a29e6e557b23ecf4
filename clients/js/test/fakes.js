import { NetworkError } from '../src/index.js';

/** @typedef {import('../src/request.js').Request} Request */

/** Returns an answer. */
export function answer(status, headers = {}, body = '') {
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]));
  return { status, header: (name) => lower[name.toLowerCase()] ?? null, text: typeof body === 'string' ? body : JSON.stringify(body) };
}

/** Returns the answer of an error. */
export function problem(status, kind, headers = {}, more = {}) {
  return answer(status, headers, { type: `urn:problem-type:vintedbot:${kind}`, title: kind, status, detail: `It is ${kind}.`, ...more });
}

/** A server of one upload, as far as a client sees it. `mishaps` replace its answers, in order; `null` is none. */
export class FakeServer {
  requests = [];
  mishaps = [];
  received = 0;
  length = 0;

  send = async (request) => {
    request.signal?.throwIfAborted();
    this.requests.push(request);
    const mishap = this.mishaps.shift();
    if (mishap) {
      const failed = await mishap(request, this);
      if (failed === undefined) throw new NetworkError('cut');
      return failed;
    }
    return this.answer(request);
  };

  /** The requests in short. */
  get log() {
    return this.requests.map(({ method, headers }) => [method, headers['Upload-Offset']].filter(Boolean).join(' '));
  }

  answer({ method, url, headers, body }) {
    if (url.endsWith('/api/v1/listings')) return answer(201, {}, { id: 1, title: '', photos: [], ...JSON.parse(body) });
    if (method === 'POST') this.length = Number(headers['Upload-Length']);
    if (method === 'POST' || method === 'PATCH') {
      if (method === 'PATCH' && Number(headers['Upload-Offset']) !== this.received) {
        return problem(409, 'mismatching-upload-offset', { 'Upload-Offset': this.received });
      }
      if (method === 'POST') this.received = 0;
      this.received += body.size;
    }
    const isComplete = this.received === this.length;
    const state = { Location: '/api/v1/uploads/u1', 'Upload-Offset': this.received, 'Upload-Complete': isComplete ? '?1' : '?0' };
    const media = { id: 1, url: '/media/x.jpg', width: 1, height: 1, mime: 'image/jpeg' };
    const upload = { id: 'u1', state: 'finished', media };
    return answer(isComplete ? 201 : 204, state, isComplete && method !== 'HEAD' ? upload : '');
  }
}

/** Makes all pauses short, and records them. */
export function shortPauses(context) {
  const pauses = [];
  const original = globalThis.setTimeout;
  globalThis.setTimeout = (callback, time, ...rest) => {
    if (time > 0 && time < 60_000) pauses.push(time);
    return original(callback, time < 60_000 ? 0 : time, ...rest);
  };
  context.after(() => {
    globalThis.setTimeout = original;
  });
  return pauses;
}

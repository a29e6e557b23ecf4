import { NetworkError } from './problem.js';

/**
 * @typedef {object} Request
 * @property {string} method
 * @property {string} url
 * @property {Record<string, string>} headers
 * @property {Blob | string} [body]
 * @property {AbortSignal} [signal]
 * @property {(bytes: number) => void} [onSent] Called with the bytes of the body that left, where the platform says so.
 */

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {(name: string) => string | null} header
 * @property {string} text
 */

/**
 * Sends a request. Rejects with `NetworkError` if there is no whole answer, and with the signal's reason if it is aborted.
 * @typedef {(request: Request) => Promise<Answer>} Send
 */

/** Milliseconds without a byte after which a connection counts as dead: phones change networks without telling the socket. */
const STALL = 60_000;
/** Milliseconds that an answer may take. A photo may wait 30 seconds for a worker, and be decoded for 20. */
const PATIENCE = 120_000;
/** The slowest rate in bytes a millisecond that a body may have where nobody says how much of it left. */
const SLOWEST = 4;

/**
 * Sends by XMLHttpRequest, which alone says in a browser how much of a body left.
 * @type {Send}
 */
export function sendByXhr({ method, url, headers, body, signal, onSent }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const xhr = new XMLHttpRequest();
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const wait = (/** @type {number} */ time) => {
      clearTimeout(timer);
      timer = setTimeout(() => fail(new NetworkError('The connection is silent.')), time);
    };
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
    const fail = (/** @type {unknown} */ error) => {
      end();
      reject(error);
      xhr.abort();
    };
    const abort = () => fail(signal?.reason);
    signal?.addEventListener('abort', abort);
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    if (body !== undefined) {
      xhr.upload.onprogress = (event) => {
        wait(event.loaded < event.total ? STALL : PATIENCE);
        onSent?.(event.loaded);
      };
      xhr.upload.onload = () => wait(PATIENCE);
    }
    xhr.onload = () => {
      end();
      resolve({ status: xhr.status, header: (name) => xhr.getResponseHeader(name), text: xhr.responseText });
    };
    xhr.onerror = () => fail(new NetworkError('The connection broke.'));
    wait(STALL);
    xhr.send(body);
  });
}

/**
 * Sends by fetch, where there is no XMLHttpRequest. It does not say how much of a body left.
 * @type {Send}
 */
export async function sendByFetch({ method, url, headers, body, signal }) {
  const length = typeof body === 'string' ? body.length : (body?.size ?? 0);
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), PATIENCE + length / SLOWEST);
  const abort = () => timeout.abort();
  signal?.throwIfAborted();
  signal?.addEventListener('abort', abort);
  try {
    const response = await fetch(url, { method, headers, body, signal: timeout.signal });
    const text = await response.text();
    return { status: response.status, header: (name) => response.headers.get(name), text };
  } catch {
    signal?.throwIfAborted();
    throw new NetworkError(timeout.signal.aborted ? 'The connection is silent.' : 'The connection broke.');
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/**
 * Sends by what the platform has.
 * @type {Send}
 */
export function sendByPlatform(request) {
  return typeof XMLHttpRequest === 'function' ? sendByXhr(request) : sendByFetch(request);
}

/**
 * Returns the header that names the caller.
 * @param {string | undefined} token
 * @returns {Record<string, string>}
 */
export function authorization(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Returns an unguessable name. `crypto.randomUUID` is missing where a page came without TLS. */
export function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

import { ProblemError, errorOf } from './problem.js';
import { authorization, randomName, sendByPlatform } from './request.js';
import { Backoff, Gate } from './retry.js';

/**
 * A stored photo.
 * @typedef {object} Media
 * @property {number} id
 * @property {string} url Relative to the server if it begins with a slash.
 * @property {number} width
 * @property {number} height
 * @property {string} mime
 * @property {string} [thumbhash] A placeholder in base64, once the server knows it.
 * @property {PhotoFacts} [facts] What is known of the pixels, once the server knows it.
 * @property {{url: string, width: number, height: number}[]} [renditions] Smaller copies, from servers that make them.
 */

/**
 * Facts about the pixels of a stored photo. The server judges nothing by them.
 * @typedef {object} PhotoFacts
 * @property {number} sharpness The variance of the Laplacian of luma. Blurred photos have little.
 * @property {number} brightness The mean luma, from 0 to 255.
 * @property {{dark: number, light: number}} clipped The shares of pixels, from 0 to 1, that are nearly black or white.
 * @property {string} perceptual_hash A pHash of 64 bits as 16 hex digits. Photos that look alike differ in few bits.
 */

/**
 * A resumable upload.
 * @typedef {object} Upload
 * @property {string} id
 * @property {'receiving' | 'finished' | 'failed'} state
 * @property {number} [offset]
 * @property {number} [length]
 * @property {Media} [media]
 * @property {import('./problem.js').Problem} [problem]
 */

/**
 * @typedef {object} UploadOptions
 * @property {string} [server] For example `https://photos.example`. Without it the origin of the page.
 * @property {string | (() => string | undefined)} [token] The bearer token, if the server wants one.
 * @property {string} [key] The Idempotency-Key of this upload; another one for each photo. Keep it to continue later.
 * @property {string} [id] The id of an upload that began earlier.
 * @property {(id: string) => void} [onBegin] Called with the id that continues the upload later.
 * @property {(sent: number, total: number) => void} [onProgress] Called with bytes.
 * @property {AbortSignal} [signal] Ends the upload. The server keeps what it has for 24 hours.
 * @property {number} [attempts] How often in a row requests may fail (12, which takes about three minutes).
 * @property {number} [chunkBytes] The longest body, for proxies that limit it. Each body is a request that rate limits count.
 * @property {Gate} [gate] When requests may be sent, shared by uploads.
 * @property {import('./request.js').Send} [send] Sends a request.
 */

const UPLOADS = '/api/v1/uploads';
/**
 * Bytes that the first request brings: enough to refuse what is no photo, or for a small photo, and few enough to be sent again.
 * Browsers do that by themselves when a connection breaks that they used before.
 */
const FIRST_BYTES = 256 << 10;
export const ATTEMPTS = 12;
/** Problems after which the server knows better how far an upload is: the answer to an earlier request was lost. */
const STALE = ['not-found', 'completed-upload', 'inconsistent-upload-length'];

/**
 * Uploads a photo by draft-ietf-httpbis-resumable-upload, and continues where the server says after each failure that is temporary.
 *
 * @param {Blob} photo
 * @param {UploadOptions} [options]
 * @returns {Promise<Upload & {media: Media}>} The finished upload, whose id a draft takes.
 * @throws {ProblemError} The server refuses the photo, or the attempts are used up.
 * @throws {import('./problem.js').NetworkError} The attempts are used up.
 */
export async function uploadPhoto(photo, options = {}) {
  const { onBegin, onProgress, signal, chunkBytes = Infinity, gate = new Gate() } = options;
  const backoff = new Backoff(options.attempts ?? ATTEMPTS, gate);
  const key = options.key ?? randomName();
  const call = caller(options, gate);
  let id = options.id;
  /** @type {number | undefined} Where to continue, once the server said so. */
  let offset;
  let acknowledged = 0;

  const reached = (/** @type {number} */ bytes) => {
    if (bytes > acknowledged) backoff.reset();
    offset = acknowledged = bytes;
    onProgress?.(bytes, photo.size);
  };
  const body = (/** @type {number} */ from, /** @type {number} */ most) => {
    const end = Math.min(photo.size, from + Math.min(most, chunkBytes));
    const isLast = end === photo.size;
    const onSent = (/** @type {number} */ sent) => onProgress?.(Math.min(from + sent, end), photo.size);
    return { body: photo.slice(from, end), isLast, complete: isLast ? '?1' : '?0', onSent };
  };

  for (;;) {
    try {
      if (id === undefined) {
        const first = body(0, FIRST_BYTES);
        const headers = {
          'Content-Type': photo.type || 'application/octet-stream',
          'Idempotency-Key': key,
          'Upload-Complete': first.complete,
          'Upload-Length': String(photo.size),
        };
        const answer = await call('POST', UPLOADS, headers, first);
        id = answer.header('Location')?.split('/').pop();
        if (id === undefined) throw errorOf(answer);
        onBegin?.(id);
        const finished = finishedIn(answer);
        if (finished) return finished;
        reached(Number(answer.header('Upload-Offset')));
      } else if (offset === undefined) {
        const answer = await call('HEAD', `${UPLOADS}/${id}`, {});
        if (answer.header('Upload-Complete') === '?1') return await finishedUpload(call, id);
        reached(Number(answer.header('Upload-Offset')));
      } else {
        const rest = body(offset, Infinity);
        const headers = {
          'Content-Type': 'application/partial-upload',
          'Upload-Complete': rest.complete,
          'Upload-Offset': String(offset),
        };
        const answer = await call('PATCH', `${UPLOADS}/${id}`, headers, rest);
        const finished = finishedIn(answer);
        if (finished) return finished;
        reached(Number(answer.header('Upload-Offset')));
      }
    } catch (error) {
      offset = undefined;
      const isStale = id !== undefined && error instanceof ProblemError && STALE.includes(error.kind);
      if (isStale && error.kind === 'not-found' && !(await isReceiving(call, id ?? ''))) {
        // It is expired. With the same key it begins again.
        id = undefined;
      }
      await backoff.next(error, signal, isStale);
    }
  }
}

/**
 * Removes an upload that no draft needs. What cannot be removed expires.
 * @param {string} id
 * @param {UploadOptions} [options]
 */
export async function cancelUpload(id, options = {}) {
  await caller(options, options.gate ?? new Gate())('DELETE', `${UPLOADS}/${id}`, {}).catch(() => {});
}

/**
 * Returns what sends requests, and throws the error of answers that are none of success.
 * @param {UploadOptions} options
 * @param {Gate} gate
 */
export function caller(options, gate) {
  const { server = '', token, signal, send = sendByPlatform } = options;
  /**
   * @param {string} method
   * @param {string} path
   * @param {Record<string, string>} headers
   * @param {{body?: Blob | string, onSent?: (bytes: number) => void}} [content]
   */
  return async (method, path, headers, content = {}) => {
    await gate.pass(signal);
    const named = authorization(typeof token === 'function' ? token() : token);
    const url = server.replace(/\/$/, '') + path;
    const { body, onSent } = content;
    const answer = await send({ method, url, headers: { ...headers, ...named }, body, signal, onSent });
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw errorOf(method === 'HEAD' && answer.status === 404 ? { ...answer, text: NOT_FOUND } : answer);
  };
}

/** A HEAD has no body that says why. */
const NOT_FOUND = JSON.stringify({ type: 'urn:problem-type:vintedbot:not-found', detail: 'The upload is gone.' });

/**
 * Returns whether an upload can be continued that HEAD did not find.
 * @param {ReturnType<typeof caller>} call
 * @param {string} id
 * @throws {ProblemError} Its photo was refused.
 */
async function isReceiving(call, id) {
  const answer = await call('GET', `${UPLOADS}/${id}`, {}).catch(() => undefined);
  const upload = answer && uploadIn(answer);
  if (upload?.problem) throw new ProblemError(upload.problem);
  return upload !== undefined;
}

/**
 * @param {ReturnType<typeof caller>} call
 * @param {string} id
 */
async function finishedUpload(call, id) {
  const answer = await call('GET', `${UPLOADS}/${id}`, {});
  const finished = finishedIn(answer);
  if (finished) return finished;
  throw errorOf(answer);
}

/**
 * @param {import('./request.js').Answer} answer
 * @returns {Upload | undefined}
 */
function uploadIn(answer) {
  return answer.text === '' ? undefined : JSON.parse(answer.text);
}

/** @param {import('./request.js').Answer} answer */
function finishedIn(answer) {
  const upload = uploadIn(answer);
  return upload?.state === 'finished' && upload.media ? { ...upload, media: upload.media } : undefined;
}

import { NetworkError, ProblemError } from '../../clients/js/src/problem.js';

/** @typedef {import('../../clients/js/src/album.js').Photo} Photo */

/** Most photos of a draft. */
export const mostPhotos = Number(document.body.dataset.photos);
const mostMebibytes = Number(document.body.dataset.bytes) / 2 ** 20;

/**
 * What a problem means to somebody who uploads photos. For others the server's own sentence is shown.
 * @type {Record<string, string>}
 */
const WORDS = {
  'unsupported-image': 'This is not a photo that the server can read. Send a JPEG, HEIC, PNG, WebP, AVIF, GIF or TIFF.',
  'corrupt-image': 'The file is damaged.',
  'truncated-image': 'The file is incomplete: it ends before the picture does.',
  'empty-image': 'The file is empty.',
  'photo-too-large': `The file is larger than ${mostMebibytes} MB.`,
  'too-many-pixels': 'The photo has too many pixels.',
  'image-too-complex': 'The server needs too long for this photo. Save it as a plain JPEG.',
  'upload-quota': 'You have uploaded as much as is allowed for now. Try again later.',
  'rate-limited': 'Too many requests. Try again in a minute.',
  'token-missing': 'The server asks for an access token.',
  'token-invalid': 'The access token is not valid, or no longer.',
  'draft-full': `A draft has at most ${mostPhotos} photos.`,
  'storage-full': 'The server has no space left. Try again later.',
  'unknown-upload': 'A photo had expired on the server and is sent again. Then make the draft once more.',
  'read-only': 'The server takes no photos at the moment. Try again later.',
};

/**
 * Returns what to tell somebody of an error.
 * @param {unknown} error
 */
export function inWords(error) {
  if (error instanceof NetworkError) return 'The server cannot be reached. Are you online?';
  if (error instanceof ProblemError) return WORDS[error.kind] ?? error.message;
  return error instanceof Error ? error.message : String(error);
}

/**
 * Returns what to tell somebody of a photo.
 * @param {Photo} photo
 */
export function stateInWords(photo) {
  if (photo.state === 'waiting') return 'Waiting';
  if (photo.state === 'sending') return photo.sent < photo.size ? `Sending, ${percent(photo)} %` : 'The server works on it';
  if (photo.state === 'stored') return 'Stored';
  if (photo.problem) return inWords(new ProblemError(photo.problem));
  return photo.error ?? 'Stopped';
}

/** @param {Photo} photo */
const percent = ({ sent, size }) => Math.floor((100 * sent) / Math.max(size, 1));

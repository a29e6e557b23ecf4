import { ProblemError, errorOf } from './problem.js';
import { randomName } from './request.js';
import { Backoff, Gate } from './retry.js';
import { MemoryStore } from './store.js';
import { ATTEMPTS, caller, cancelUpload, uploadPhoto } from './upload.js';

/**
 * A photo of an album.
 *
 * `waiting` for its turn, `sending`, `stored` on the server, `refused` by the server with a `problem`, or `stopped` because requests
 * failed too often or need another token; `retry` begins again.
 * @typedef {object} Photo
 * @property {string} id Names the photo within the album.
 * @property {string} name The name of the file.
 * @property {number} size In bytes.
 * @property {'waiting' | 'sending' | 'stored' | 'refused' | 'stopped'} state
 * @property {number} sent Bytes that were sent.
 * @property {string} key The Idempotency-Key of its upload.
 * @property {string} [upload] The id of its upload.
 * @property {import('./upload.js').Media} [media] The stored photo.
 * @property {import('./problem.js').Problem} [problem] Why it was refused or stopped.
 * @property {string} [error] Why it was stopped, in words.
 */

/**
 * A draft, as docs/api.md describes it.
 * @typedef {object} Draft
 * @property {number} id
 * @property {string} title
 * @property {string} description
 * @property {string} status
 * @property {number | null} price_suggested
 * @property {{media: import('./upload.js').Media, order_index: number}[]} photos
 * @property {string} updated_at
 * @property {string} created_at
 */

/** @typedef {{title?: string, description?: string, price_suggested?: number | null}} DraftFields */

/**
 * @typedef {object} AlbumOptions
 * @property {string} [server] For example `https://photos.example`. Without it the origin of the page.
 * @property {string | (() => string | undefined)} [token] The bearer token, if the server wants one.
 * @property {import('./store.js').Store} [store] Keeps the album; without it in memory.
 * @property {number} [concurrency] How many photos are sent at the same time (3).
 * @property {number} [attempts] How often in a row requests may fail before a photo is stopped (12).
 * @property {number} [chunkBytes] The longest body of a request.
 * @property {import('./request.js').Send} [send] Sends a request.
 */

/** @typedef {{photos: Photo[], request?: {key: string, body: string}, draft?: Draft}} Kept */

const ALBUM = 'album';

/** Photos on their way to one draft: sends them in order, some at the same time, and keeps them in a store. */
export class Album {
  /** @type {Photo[]} In the order of the draft. */
  photos = [];
  /** @type {Draft | undefined} The draft, once it is made. */
  draft;
  /** Whether the store keeps the album. It may be full, or forbidden. */
  isKept = true;

  /** @type {AlbumOptions} */
  #options;
  /** @type {import('./store.js').Store} */
  #store;
  #gate = new Gate();
  /** @type {Map<string, Blob>} */
  #blobs = new Map();
  /** @type {Map<string, AbortController>} */
  #running = new Map();
  /** @type {{key: string, body: string} | undefined} The request that makes the draft. It is repeated as it is. */
  #request;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {Promise<unknown>} */
  #saving = Promise.resolve();
  #isSaveDue = false;
  #closing = new AbortController();

  /** @param {AlbumOptions} [options] */
  constructor(options = {}) {
    this.#options = options;
    this.#store = options.store ?? new MemoryStore();
  }

  /**
   * Opens the album that the store has, and continues its uploads, or a new one.
   * @param {AlbumOptions} [options]
   */
  static async open(options = {}) {
    const album = new Album(options);
    await album.#load();
    return album;
  }

  /** Whether a request for the draft is on its way, or was when the page ended: then `createDraft` repeats it. */
  get isCreating() {
    return this.#request !== undefined;
  }

  /** Whether each photo is stored or refused. */
  get isSettled() {
    return this.photos.every((photo) => photo.state === 'stored' || photo.state === 'refused');
  }

  /**
   * Calls a function after each change, until the function that is returned is called.
   * @param {() => void} listener
   * @returns {() => void}
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Adds a photo at the end, and sends it.
   * @param {Blob} blob
   * @param {string} [name]
   * @returns {Photo}
   */
  add(blob, name = blob instanceof File ? blob.name : 'photo') {
    this.#refuseChange();
    const id = randomName();
    /** @type {Photo} */
    const photo = { id, name, size: blob.size, state: 'waiting', sent: 0, key: randomName() };
    this.photos.push(photo);
    this.#keepBlob(id, blob);
    this.#changed();
    return photo;
  }

  /**
   * Moves a photo to another place.
   * @param {string} id
   * @param {number} place From 0.
   */
  move(id, place) {
    this.#refuseChange();
    const from = this.photos.findIndex((photo) => photo.id === id);
    if (from < 0 || from === place) return;
    const [photo] = this.photos.splice(from, 1);
    this.photos.splice(place, 0, photo);
    this.#changed();
  }

  /**
   * Removes a photo, also from the server.
   * @param {string} id
   */
  remove(id) {
    this.#refuseChange();
    const photo = this.#photo(id);
    this.#cancel(photo);
    this.photos.splice(this.photos.indexOf(photo), 1);
    this.#changed();
    this.#forgetBlob(id);
  }

  /**
   * Gives a photo other bytes, for example turned ones, and sends these.
   * @param {string} id
   * @param {Blob} blob
   */
  replace(id, blob) {
    this.#refuseChange();
    const photo = this.#photo(id);
    this.#cancel(photo);
    this.#begin(photo);
    photo.size = blob.size;
    this.#keepBlob(id, blob);
    this.#changed();
  }

  /**
   * Sends a photo again that was refused or stopped; without an id all that were stopped.
   * @param {string} [id]
   */
  retry(id) {
    this.#refuseChange();
    for (const photo of this.photos) {
      if (photo.id === id && photo.state === 'refused') this.#begin(photo);
      else if (photo.state === 'stopped' && (id === undefined || photo.id === id)) {
        photo.state = 'waiting';
        photo.problem = photo.error = undefined;
      }
    }
    this.#changed();
  }

  /**
   * Returns the bytes of a photo, or undefined if only the server has them.
   * @param {string} id
   */
  blob(id) {
    return this.#blobs.get(id);
  }

  /**
   * Waits until each photo is stored or refused, and makes a draft of the stored ones in their order. Repeated, also after the page
   * was loaded again, it makes no second draft.
   * @param {DraftFields} [fields]
   * @returns {Promise<Draft>}
   * @throws {ProblemError} A photo was stopped, no photo is stored, or the server refuses the draft.
   */
  async createDraft(fields = {}) {
    if (this.draft) return this.draft;
    if (!this.#request) {
      await this.#settled();
      const uploads = this.photos.flatMap((photo) => (photo.state === 'stored' && photo.upload ? [photo.upload] : []));
      if (uploads.length === 0) throw new Error('No photo is stored.');
      this.#request = { key: randomName(), body: JSON.stringify({ ...fields, uploads }) };
      await this.#save();
      this.#notify();
    }
    const { key, body } = this.#request;
    const signal = this.#closing.signal;
    const backoff = new Backoff(this.#options.attempts ?? ATTEMPTS, this.#gate);
    const call = caller({ ...this.#options, signal }, this.#gate);
    for (;;) {
      try {
        const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
        const answer = await call('POST', '/api/v1/listings', headers, { body });
        if (answer.status !== 201) throw errorOf(answer);
        /** @type {Draft} */
        const draft = JSON.parse(answer.text);
        this.draft = draft;
        this.#request = undefined;
        await this.#save();
        this.#notify();
        return draft;
      } catch (error) {
        if (error instanceof ProblemError && !error.isTemporary) this.#draftRefused(error);
        await backoff.next(error, signal);
      }
    }
  }

  /** Forgets everything, for the next album. What the server has and no draft got expires there. */
  async clear() {
    for (const photo of this.photos) {
      if (!this.draft) this.#cancel(photo);
      this.#forgetBlob(photo.id);
    }
    this.photos = [];
    this.draft = this.#request = undefined;
    this.#notify();
    await this.#save();
  }

  /** Ends all requests. The album stays in its store, and `Album.open` continues it. */
  close() {
    this.#closing.abort();
    for (const controller of this.#running.values()) controller.abort();
  }

  async #load() {
    /** @type {Kept | undefined} */
    let kept;
    try {
      kept = await this.#store.get(ALBUM);
    } catch {
      this.isKept = false;
    }
    if (!kept) return;
    this.draft = kept.draft;
    this.#request = kept.request;
    for (const photo of kept.photos) {
      const blob = await this.#store.get(photo.id).catch(() => undefined);
      if (blob) this.#blobs.set(photo.id, blob);
      if (photo.state === 'sending') photo.state = 'waiting';
      this.photos.push(photo);
    }
    this.#fill();
  }

  /** The draft is refused: the request is forgotten by the server, and the album may be changed. */
  #draftRefused(/** @type {ProblemError} */ { kind, problem }) {
    const { file_index: index } = problem;
    if (kind === 'unknown-upload' && index !== undefined) {
      // It is expired, so it is sent again.
      this.#begin(this.photos.filter((photo) => photo.state === 'stored')[index]);
    }
    this.#request = undefined;
    this.#changed();
  }

  #refuseChange() {
    if (this.isCreating || this.draft) throw new Error('The draft is made of these photos already.');
  }

  #photo(/** @type {string} */ id) {
    const photo = this.photos.find((photo) => photo.id === id);
    if (!photo) throw new Error(`The album has no photo ${id}.`);
    return photo;
  }

  /** Ends the upload of a photo, here and on the server. */
  #cancel(/** @type {Photo} */ photo) {
    this.#running.get(photo.id)?.abort();
    this.#running.delete(photo.id);
    if (photo.upload) void cancelUpload(photo.upload, { ...this.#options, gate: this.#gate });
  }

  /** Lets a photo wait for an upload of its own. */
  #begin(/** @type {Photo} */ photo) {
    const anew = { state: /** @type {const} */ ('waiting'), sent: 0, key: randomName() };
    Object.assign(photo, anew, { upload: undefined, media: undefined, problem: undefined, error: undefined });
  }

  /** Sends photos until as many are on their way as may be. */
  #fill() {
    for (const photo of this.photos) {
      if (this.#running.size >= (this.#options.concurrency ?? 3)) return;
      if (photo.state !== 'waiting') continue;
      const blob = this.#blobs.get(photo.id);
      if (blob) void this.#send(photo, blob);
      else Object.assign(photo, { state: 'stopped', error: 'Its bytes are gone from this device. Add it again.' });
    }
  }

  async #send(/** @type {Photo} */ photo, /** @type {Blob} */ blob) {
    const controller = new AbortController();
    this.#running.set(photo.id, controller);
    photo.state = 'sending';
    try {
      const { id, media } = await uploadPhoto(blob, {
        ...this.#options,
        gate: this.#gate,
        signal: controller.signal,
        key: photo.key,
        id: photo.upload,
        onBegin: (id) => {
          if (controller.signal.aborted) return;
          photo.upload = id;
          this.#changed();
        },
        onProgress: (sent) => {
          if (controller.signal.aborted) return;
          photo.sent = sent;
          this.#notify();
        },
      });
      if (controller.signal.aborted) return;
      Object.assign(photo, { state: 'stored', sent: photo.size, upload: id, media });
    } catch (error) {
      if (controller.signal.aborted) return;
      const problem = error instanceof ProblemError ? error.problem : undefined;
      const isFinal = error instanceof ProblemError && !error.isTemporary && error.status !== 401;
      photo.state = isFinal ? 'refused' : 'stopped';
      Object.assign(photo, { problem, error: error instanceof Error ? error.message : String(error) });
    }
    this.#running.delete(photo.id);
    this.#changed();
  }

  /** Waits until each photo is stored or refused, or throws if one was stopped. */
  #settled() {
    return new Promise((/** @type {(value: void) => void} */ resolve, reject) => {
      const look = () => {
        const stopped = this.photos.find((photo) => photo.state === 'stopped');
        if (!this.isSettled && !stopped && !this.#closing.signal.aborted) return;
        unsubscribe();
        if (stopped) reject(stopped.problem ? new ProblemError(stopped.problem) : new Error(stopped.error));
        else if (this.isSettled) resolve();
        else reject(this.#closing.signal.reason);
      };
      const unsubscribe = this.subscribe(look);
      look();
    });
  }

  #changed() {
    void this.#save();
    this.#fill();
    this.#notify();
  }

  #notify() {
    for (const listener of this.#listeners) listener();
  }

  #keepBlob(/** @type {string} */ id, /** @type {Blob} */ blob) {
    this.#blobs.set(id, blob);
    this.#write(() => this.#store.put(id, blob));
  }

  #forgetBlob(/** @type {string} */ id) {
    this.#blobs.delete(id);
    this.#write(() => this.#store.delete(id));
  }

  /** Writes the album as it is when its turn comes. Changes in the meantime need no turn of their own. */
  #save() {
    if (this.#isSaveDue) return this.#saving;
    this.#isSaveDue = true;
    return this.#write(() => {
      this.#isSaveDue = false;
      /** @type {Kept} */
      const kept = { photos: this.photos, request: this.#request, draft: this.draft };
      return this.#store.put(ALBUM, kept);
    });
  }

  /** Runs what writes to the store, after what was to be written before: the bytes of a photo before the album that names it. */
  #write(/** @type {() => Promise<void>} */ write) {
    const failed = () => {
      this.isKept = false;
    };
    this.#saving = this.#saving.then(write).catch(failed);
    return this.#saving;
  }
}

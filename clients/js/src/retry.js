import { NetworkError, ProblemError } from './problem.js';

/** Milliseconds of the first pause, and of the longest. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;

/**
 * Waits, or rejects with the signal's reason. A phone that is online again does not wait to the end.
 * @param {number} milliseconds
 * @param {AbortSignal} [signal]
 * @param {boolean} [endsOnline]
 * @returns {Promise<void>}
 */
export function pause(milliseconds, signal, endsOnline = false) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      if (endsOnline) globalThis.removeEventListener?.('online', done);
    };
    const done = () => {
      end();
      resolve();
    };
    const abort = () => {
      end();
      reject(signal?.reason);
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener('abort', abort);
    if (endsOnline) globalThis.addEventListener?.('online', done);
  });
}

/**
 * When requests may be sent again. Uploads share it, so that one 429 holds all of them.
 */
export class Gate {
  #opens = 0;

  /**
   * Closes the gate for some seconds from now, if it is not closed for longer.
   * @param {number} seconds
   */
  close(seconds) {
    this.#opens = Math.max(this.#opens, Date.now() + seconds * 1000);
  }

  /**
   * Waits until the gate is open.
   * @param {AbortSignal} [signal]
   */
  async pass(signal) {
    for (let left; (left = this.#opens - Date.now()) > 0; ) await pause(left, signal);
    signal?.throwIfAborted();
  }
}

/** Decides whether and when a request is sent again. */
export class Backoff {
  #failures = 0;

  /**
   * @param {number} attempts How often in a row a request may fail.
   * @param {Gate} gate
   */
  constructor(attempts, gate) {
    this.attempts = attempts;
    this.gate = gate;
  }

  /** Forgets failures: something was achieved. */
  reset() {
    this.#failures = 0;
  }

  /**
   * Waits before the next attempt, or throws the error if there is none. A time that the server names counts for all uploads, and
   * some jitter after it keeps clients that were refused together apart.
   * @param {unknown} error
   * @param {AbortSignal} [signal]
   * @param {boolean} [isTemporary] Whether another request may succeed, whatever the error says.
   */
  async next(error, signal, isTemporary = false) {
    signal?.throwIfAborted();
    const canPass = error instanceof NetworkError || (error instanceof ProblemError && error.isTemporary);
    if (!(isTemporary || canPass) || ++this.#failures >= this.attempts) throw error;
    const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (this.#failures - 1));
    const named = error instanceof ProblemError ? error.retryAfter : undefined;
    if (named !== undefined && error instanceof ProblemError && error.status !== 409) this.gate.close(named);
    const jitter = longest * (0.5 + Math.random() / 2);
    await pause((named ?? 0) * 1000 + (named === undefined ? jitter : jitter / 4), signal, named === undefined);
  }
}

/**
 * The body of an error (RFC 9457). docs/problems.md lists the types.
 * @typedef {object} Problem
 * @property {string} type A URI that says what happened and never changes.
 * @property {string} title The reason phrase of the status.
 * @property {number} status
 * @property {string} detail One sentence for the app's developer.
 * @property {string} [request_id] Names the request in the server's log.
 * @property {number} [file_index] The photo that is to blame, from 0.
 * @property {string | null} [filename]
 */

/** Statuses after which the same request may succeed later. */
const TEMPORARY = [408, 409, 423, 425, 429, 500, 502, 503, 504, 507];

/** The server refused a request. */
export class ProblemError extends Error {
  /**
   * @param {Problem} problem
   * @param {number} [retryAfter] Seconds to wait, if the server said so.
   */
  constructor(problem, retryAfter) {
    super(problem.detail || problem.title);
    this.name = 'ProblemError';
    this.problem = problem;
    this.status = problem.status;
    /** The last part of the type, for example `corrupt-image`. */
    this.kind = problem.type.split(/[:#/]/).pop() ?? '';
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get isTemporary() {
    return TEMPORARY.includes(this.status) || this.kind === 'cut-off';
  }
}

/** The connection broke, or the server did not answer in time. */
export class NetworkError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = 'NetworkError';
  }
}

/**
 * Returns the error of an answer. A body that is no problem, such as that of a proxy, becomes one.
 * @param {import('./request.js').Answer} answer
 */
export function errorOf(answer) {
  const unknown = { type: 'about:blank', title: `Status ${answer.status}`, status: answer.status, detail: '' };
  return new ProblemError({ ...unknown, ...problemIn(answer.text) }, retryAfter(answer.header('Retry-After')));
}

/**
 * @param {string} text
 * @returns {Partial<Problem>}
 */
function problemIn(text) {
  try {
    const body = JSON.parse(text);
    return typeof body?.type === 'string' ? body : {};
  } catch {
    return {};
  }
}

/**
 * Returns the seconds of a Retry-After, which is a number or a date (RFC 9110 section 10.2.3).
 * @param {string | null} value
 */
function retryAfter(value) {
  if (value === null || value.trim() === '') return undefined;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}

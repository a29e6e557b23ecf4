/**
 * Where an album is kept. Values are those of the structured clone algorithm: objects, texts and Blobs.
 * @typedef {object} Store
 * @property {(key: string) => Promise<any>} get Returns the value, or undefined.
 * @property {(key: string, value: any) => Promise<void>} put
 * @property {(key: string) => Promise<void>} delete
 */

/**
 * Keeps an album as long as the process lives.
 * @implements {Store}
 */
export class MemoryStore {
  /** @type {Map<string, any>} */
  #values = new Map();

  /** @param {string} key */
  async get(key) {
    return this.#values.get(key);
  }

  /**
   * @param {string} key
   * @param {any} value
   */
  async put(key, value) {
    // Like IndexedDB it keeps what the value was then. Blobs do not change.
    this.#values.set(key, value instanceof Blob ? value : structuredClone(value));
  }

  /** @param {string} key */
  async delete(key) {
    this.#values.delete(key);
  }
}

const TABLE = 'values';

/**
 * Keeps an album in the browser, also when the page is loaded again.
 * @implements {Store}
 */
export class IndexedDbStore {
  /** @type {Promise<IDBDatabase> | undefined} */
  #database;

  /** @param {string} [name] The name of the database. */
  constructor(name = 'vintedbot-uploads') {
    this.name = name;
  }

  #open() {
    this.#database ??= new Promise((resolve, reject) => {
      const opening = indexedDB.open(this.name, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE);
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
    return this.#database;
  }

  /**
   * @param {IDBTransactionMode} mode
   * @param {(table: IDBObjectStore) => IDBRequest} act
   * @returns {Promise<any>}
   */
  async #run(mode, act) {
    const transaction = (await this.#open()).transaction(TABLE, mode);
    const request = act(transaction.objectStore(TABLE));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? request.error);
    });
  }

  /** @param {string} key */
  get(key) {
    return this.#run('readonly', (table) => table.get(key));
  }

  /**
   * @param {string} key
   * @param {any} value
   * @returns {Promise<void>}
   */
  put(key, value) {
    return this.#run('readwrite', (table) => table.put(value, key));
  }

  /**
   * @param {string} key
   * @returns {Promise<void>}
   */
  delete(key) {
    return this.#run('readwrite', (table) => table.delete(key));
  }
}

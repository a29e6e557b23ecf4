export { Album } from './album.js';
export { NetworkError, ProblemError } from './problem.js';
export { rotate } from './rotate.js';
export { IndexedDbStore, MemoryStore } from './store.js';
export { thumbHashToRgba } from './thumbhash.js';
export { cancelUpload, uploadPhoto } from './upload.js';

/** @typedef {import('./album.js').AlbumOptions} AlbumOptions */
/** @typedef {import('./album.js').Draft} Draft */
/** @typedef {import('./album.js').DraftFields} DraftFields */
/** @typedef {import('./album.js').Photo} Photo */
/** @typedef {import('./problem.js').Problem} Problem */
/** @typedef {import('./request.js').Send} Send */
/** @typedef {import('./store.js').Store} Store */
/** @typedef {import('./upload.js').Media} Media */
/** @typedef {import('./upload.js').PhotoFacts} PhotoFacts */
/** @typedef {import('./upload.js').Upload} Upload */
/** @typedef {import('./upload.js').UploadOptions} UploadOptions */

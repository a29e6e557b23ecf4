// The upload page. The server puts the files that it imports before it, into one script: see mod.rs.
import { Album } from '../../clients/js/src/album.js';
import { NetworkError, ProblemError } from '../../clients/js/src/problem.js';
import { rotate } from '../../clients/js/src/rotate.js';
import { IndexedDbStore, MemoryStore } from '../../clients/js/src/store.js';
import { thumbHashToRgba } from '../../clients/js/src/thumbhash.js';

/** @typedef {import('../../clients/js/src/album.js').Photo} Photo */
/** @typedef {import('../../clients/js/src/upload.js').Media} Media */

/** The longer side of previews in pixels. Whole photos of 12 megapixels would take 48 MB of memory each. */
const PREVIEW = 400;
/** How near to an edge of the window a dragged photo scrolls it, in pixels. */
const EDGE = 64;
/** Milliseconds to wait until the page that was loaded before this one lets the album go. */
const HANDOVER = 2000;

/**
 * @template {Element} T
 * @param {ParentNode} parent
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
function find(parent, selector, type) {
  const found = parent.querySelector(selector);
  if (found instanceof type) return found;
  throw new Error(`The page has no ${selector}.`);
}

const page = {
  drop: find(document, '#drop', HTMLElement),
  edit: find(document, '#edit', HTMLFieldSetElement),
  files: find(document, '#files', HTMLInputElement),
  camera: find(document, '#camera', HTMLInputElement),
  title: find(document, '#title', HTMLInputElement),
  access: find(document, '#access', HTMLDetailsElement),
  token: find(document, '#token', HTMLInputElement),
  orderHint: find(document, '#order-hint', HTMLElement),
  photos: find(document, '#photos', HTMLOListElement),
  status: find(document, '#status', HTMLElement),
  retry: find(document, '#retry', HTMLButtonElement),
  create: find(document, '#create', HTMLButtonElement),
  message: find(document, '#message', HTMLElement),
  album: find(document, '#album', HTMLElement),
  done: find(document, '#done', HTMLElement),
  doneTitle: find(document, '#done-title', HTMLElement),
  doneText: find(document, '#done-text', HTMLElement),
  leftOut: find(document, '#left-out', HTMLElement),
  stored: find(document, '#stored', HTMLElement),
  json: find(document, '#json', HTMLAnchorElement),
  next: find(document, '#next', HTMLButtonElement),
  template: find(document, '#photo', HTMLTemplateElement),
};
const mostPhotos = Number(document.body.dataset.photos);
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

/** @param {unknown} error */
function inWords(error) {
  if (error instanceof NetworkError) return 'The server cannot be reached. Are you online?';
  if (error instanceof ProblemError) return WORDS[error.kind] ?? error.message;
  return error instanceof Error ? error.message : String(error);
}

/** @param {Photo} photo */
function stateInWords(photo) {
  if (photo.state === 'waiting') return 'Waiting';
  if (photo.state === 'sending') return photo.sent < photo.size ? `Sending, ${percent(photo)} %` : 'The server works on it';
  if (photo.state === 'stored') return 'Stored';
  if (photo.problem) return inWords(new ProblemError(photo.problem));
  return photo.error ?? 'Stopped';
}

/** @param {Photo} photo */
const percent = ({ sent, size }) => Math.floor((100 * sent) / Math.max(size, 1));

/**
 * Returns whether this page has the kept album for itself, and keeps it until the page ends. Two pages would end each other's requests.
 * Browsers tell only pages that came with TLS.
 * @returns {Promise<boolean>}
 */
function ownsAlbum() {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve(true);
    const held = () => {
      resolve(true);
      return new Promise(() => {});
    };
    const options = { signal: AbortSignal.timeout(HANDOVER) };
    navigator.locks.request('vintedbot-upload-page', options, held).catch(() => resolve(false));
  });
}

page.token.value = sessionStorage.getItem('token') ?? '';
const isOwner = await ownsAlbum();
const store = isOwner ? new IndexedDbStore('vintedbot-upload-page') : new MemoryStore();
const album = await Album.open({ store, token: () => page.token.value.trim() || undefined });
page.title.value = (await store.get('title').catch(() => undefined)) ?? '';

/** The elements of photos, by their ids. */
class Card {
  /** @param {Photo} photo */
  constructor(photo) {
    this.photo = photo;
    const content = /** @type {DocumentFragment} */ (page.template.content.cloneNode(true));
    this.item = find(content, 'li', HTMLLIElement);
    this.canvas = find(content, 'canvas', HTMLCanvasElement);
    this.progress = find(content, 'progress', HTMLProgressElement);
    this.state = find(content, '.state', HTMLElement);
    this.handle = find(content, '.handle', HTMLButtonElement);
    this.turn = find(content, '.turn', HTMLButtonElement);
    this.again = find(content, '.again', HTMLButtonElement);
    this.earlier = find(content, '.earlier', HTMLButtonElement);
    this.later = find(content, '.later', HTMLButtonElement);
    const remove = find(content, '.remove', HTMLButtonElement);
    const name = find(content, '.name', HTMLElement);
    name.textContent = name.title = photo.name;
    this.progress.ariaLabel = `Upload of ${photo.name}`;
    this.canvas.ariaLabel = photo.name;
    this.again.ariaLabel = `Try again: ${photo.name}`;
    for (const [button, words] of /** @type {const} */ ([
      [this.earlier, 'Earlier'],
      [this.later, 'Later'],
      [this.turn, 'Turn'],
      [remove, 'Remove'],
    ])) {
      button.title = words;
      button.ariaLabel = `${words}: ${photo.name}`;
    }
    this.earlier.onclick = () => this.move(-1, this.earlier);
    this.later.onclick = () => this.move(1, this.later);
    this.turn.onclick = () => this.rotate();
    this.again.onclick = () => album.retry(photo.id);
    remove.onclick = () => this.remove();
    this.handle.onkeydown = (event) => this.key(event);
    this.item.onpointerdown = (event) => this.grab(event);
    this.preview();
  }

  get place() {
    return album.photos.indexOf(this.photo);
  }

  update() {
    const { photo } = this;
    const words = stateInWords(photo);
    if (this.state.textContent !== words) this.state.textContent = words;
    this.item.className = `${photo.state}${this === dragged ? ' dragged' : ''}`;
    this.progress.value = photo.state === 'stored' ? 1 : photo.sent / Math.max(photo.size, 1);
    this.progress.hidden = photo.state === 'stored' || photo.state === 'refused';
    // A refused photo would be refused again.
    this.again.hidden = photo.state !== 'stopped';
    this.earlier.disabled = this.place === 0;
    this.later.disabled = this.place === album.photos.length - 1;
    this.turn.disabled = !['image/jpeg', 'image/png'].includes(album.blob(photo.id)?.type ?? '');
    this.turn.title = this.turn.disabled ? 'Only JPEG and PNG can be turned here' : 'Turn';
    const place = `Photo ${this.place + 1} of ${album.photos.length}: ${photo.name}`;
    if (this.handle.ariaLabel !== place) this.handle.ariaLabel = place;
    if (photo.media && photo.media !== this.shown) this.show(photo.media);
  }

  /** Shows the photo itself, drawn small, one photo after the other. */
  preview() {
    const blob = album.blob(this.photo.id);
    if (!blob) return;
    this.drawing = drawing = drawing.then(async () => {
      try {
        const bitmap = await createImageBitmap(blob, { resizeWidth: PREVIEW, resizeQuality: 'medium' });
        this.draw(bitmap.width, bitmap.height, (context) => context.drawImage(bitmap, 0, 0));
        bitmap.close();
        this.isDrawn = true;
      } catch {
        // The browser does not know the format. The server shows what it made of it.
        this.isDrawn = false;
      }
    });
  }

  /**
   * Shows the stored photo where the browser could not: first its placeholder.
   * @param {Media} media
   */
  async show(media) {
    this.shown = media;
    await this.drawing;
    if (this.isDrawn || this.shown !== media) return;
    if (media.thumbhash) {
      const { width, height, rgba } = thumbHashToRgba(media.thumbhash);
      this.draw(width, height, (context) => context.putImageData(new ImageData(rgba, width, height), 0, 0));
    }
    const image = storedImage(media, this.photo.name);
    this.canvas.parentElement?.querySelector('img')?.remove();
    this.canvas.after(image);
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {(context: CanvasRenderingContext2D) => void} paint
   */
  draw(width, height, paint) {
    this.canvas.width = width;
    this.canvas.height = height;
    const context = this.canvas.getContext('2d');
    if (context) paint(context);
  }

  /**
   * Moves the photo by some places, and keeps the focus.
   * @param {number} by
   * @param {HTMLElement} focus
   */
  move(by, focus) {
    const place = Math.max(0, Math.min(album.photos.length - 1, this.place + by));
    album.move(this.photo.id, place);
    focus.focus();
    if (focus.matches(':disabled')) this.handle.focus();
    say(`${this.photo.name} is photo ${place + 1} of ${album.photos.length}.`);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const end = album.photos.length;
    /** @type {Record<string, number>} */
    const ways = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -end, End: end };
    const by = ways[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.move(by, this.handle);
  }

  async rotate() {
    const blob = album.blob(this.photo.id);
    const turned = blob && (await rotate(blob));
    if (!turned) return say(`${this.photo.name} cannot be turned: its file is damaged.`);
    album.replace(this.photo.id, turned);
    this.shown = undefined;
    this.preview();
    say(`${this.photo.name} is turned.`);
  }

  remove() {
    const place = this.place;
    album.remove(this.photo.id);
    say(`${this.photo.name} is removed.`);
    const next = album.photos[Math.min(place, album.photos.length - 1)];
    (next ? cards.get(next.id)?.handle : page.files)?.focus();
  }

  /**
   * Begins to drag: with the mouse anywhere on the picture, with a finger only at the corner, since the rest scrolls.
   * @param {PointerEvent} event
   */
  grab(event) {
    const target = /** @type {Element} */ (event.target);
    const isHeld = target.closest('.handle') || (event.pointerType === 'mouse' && target.closest('.picture'));
    if (!isHeld || event.button !== 0 || page.edit.disabled) return;
    event.preventDefault();
    this.handle.focus();
    drag(this, event);
  }
}

/** @type {Map<string, Card>} */
const cards = new Map();
/** @type {Promise<void>} */
let drawing = Promise.resolve();
/** @type {Card | undefined} */
let dragged;

/**
 * Follows the pointer until it is released, and moves the photo to where it is.
 * @param {Card} card
 * @param {PointerEvent} begin
 */
function drag(card, begin) {
  dragged = card;
  let { clientX: x, clientY: y } = begin;
  const follow = () => {
    const item = document.elementFromPoint(x, y)?.closest('#photos > li');
    const over = [...cards.values()].find((other) => other.item === item);
    if (over && over !== card) album.move(card.photo.id, over.place);
  };
  const scroll = () => {
    if (dragged !== card) return;
    const by = y < EDGE ? y - EDGE : Math.max(0, y - innerHeight + EDGE);
    if (by !== 0) {
      scrollBy(0, by / 4);
      follow();
    }
    requestAnimationFrame(scroll);
  };
  const moved = (/** @type {PointerEvent} */ event) => {
    if (event.pointerId !== begin.pointerId) return;
    ({ clientX: x, clientY: y } = event);
    follow();
  };
  const end = (/** @type {PointerEvent} */ event) => {
    if (event.pointerId !== begin.pointerId) return;
    removeEventListener('pointermove', moved);
    removeEventListener('pointerup', end);
    removeEventListener('pointercancel', end);
    dragged = undefined;
    card.update();
    say(`${card.photo.name} is photo ${card.place + 1} of ${album.photos.length}.`);
  };
  addEventListener('pointermove', moved);
  addEventListener('pointerup', end);
  addEventListener('pointercancel', end);
  card.update();
  requestAnimationFrame(scroll);
}

/**
 * Returns the stored photo as an image, of the smallest copy that is large enough.
 * @param {Media} media
 * @param {string} name
 */
function storedImage(media, name) {
  const image = new Image(media.width, media.height);
  const sizes = [...(media.renditions ?? []), media];
  image.srcset = sizes.map(({ url, width }) => `${url} ${width}w`).join(', ');
  image.sizes = '(min-width: 48rem) 12rem, 45vw';
  image.src = media.url;
  image.alt = name;
  image.loading = 'lazy';
  return image;
}

/**
 * Tells a screen reader what happened, beside the numbers.
 * @param {string} words
 */
function say(words) {
  said = words;
  render();
}
let said = '';

/** @param {unknown} error */
function complain(error) {
  page.message.textContent = error === undefined ? '' : inWords(error);
  const isAboutToken = error instanceof ProblemError && error.status === 401;
  if (isAboutToken) askForToken();
}

function askForToken() {
  if (page.access.open) return;
  page.access.open = true;
  page.token.focus();
}

function render() {
  if (album.draft) return renderDraft();
  page.album.hidden = false;
  page.done.hidden = true;
  page.edit.disabled = album.isCreating;
  for (const [id, card] of cards) {
    if (album.photos.includes(card.photo)) continue;
    card.item.remove();
    cards.delete(id);
  }
  album.photos.forEach((photo, place) => {
    const card = cards.get(photo.id) ?? new Card(photo);
    cards.set(photo.id, card);
    const at = page.photos.children[place];
    // Moving an element takes its focus.
    const focus = card.item.contains(document.activeElement) ? document.activeElement : null;
    if (at !== card.item) page.photos.insertBefore(card.item, at ?? null);
    card.update();
    if (focus instanceof HTMLElement && focus !== document.activeElement) focus.focus();
  });
  const count = (/** @type {Photo['state']} */ state) => album.photos.filter((photo) => photo.state === state).length;
  const [stopped, refused] = [count('stopped'), count('refused')];
  const numbers = album.photos.length === 0 ? 'No photos yet.' : `${count('stored')} of ${album.photos.length} photos stored.`;
  const more = [
    refused > 0 ? `${refused} refused.` : '',
    stopped > 0 ? `${stopped} stopped.` : '',
    album.isKept && isOwner ? '' : 'Keep this page open: this browser does not keep the photos.',
    said,
  ];
  const words = [numbers, ...more].filter(Boolean).join(' ');
  if (page.status.textContent !== words) page.status.textContent = words;
  page.orderHint.hidden = album.photos.length < 2;
  page.retry.hidden = stopped === 0;
  page.create.disabled = isBusy || album.photos.length === 0;
  page.create.textContent = !isBusy ? 'Make the draft' : album.isCreating ? 'Making the draft …' : 'Waiting for the photos …';
  if (album.photos.some((photo) => photo.state === 'stopped' && photo.problem?.status === 401)) askForToken();
}

let isBusy = false;

function renderDraft() {
  const { draft } = album;
  if (!draft || !page.done.hidden) return;
  page.album.hidden = true;
  page.done.hidden = false;
  page.doneTitle.textContent = draft.title ? `Draft ${draft.id}: ${draft.title}` : `Draft ${draft.id}`;
  const left = album.photos.filter((photo) => photo.state !== 'stored');
  const photos = draft.photos.length === 1 ? '1 photo' : `${draft.photos.length} photos`;
  page.doneText.textContent = `It has ${photos}.${left.length > 0 ? ' These were left out:' : ''}`;
  page.leftOut.replaceChildren(...left.map((photo) => listItem(`${photo.name}: ${stateInWords(photo)}`)));
  const names = album.photos.filter((photo) => photo.state === 'stored').map(({ name }) => name);
  page.stored.replaceChildren(...draft.photos.map(({ media }, place) => listItem(storedImage(media, names[place] ?? 'Photo'))));
  page.json.href = `/api/v1/listings/${draft.id}`;
  page.doneTitle.focus();
}

/** @param {Node | string} content */
function listItem(content) {
  const item = document.createElement('li');
  item.append(content);
  return item;
}

/** @param {Iterable<File> | null | undefined} files */
function addFiles(files) {
  if (album.isCreating || album.draft) return;
  const added = [...(files ?? [])];
  const room = Math.max(0, mostPhotos - album.photos.length);
  for (const file of added.slice(0, room)) album.add(file);
  const left = added.length - room;
  page.message.textContent = left > 0 ? `A draft has at most ${mostPhotos} photos: ${left} were not added.` : '';
}

async function createDraft() {
  isBusy = true;
  complain(undefined);
  render();
  try {
    await album.createDraft({ title: page.title.value });
  } catch (error) {
    complain(error);
  }
  isBusy = false;
  render();
}

for (const input of [page.files, page.camera]) {
  input.onchange = () => {
    addFiles(input.files);
    // So that the same file can be chosen again.
    input.value = '';
  };
}
document.ondragover = (event) => {
  event.preventDefault();
  page.drop.classList.add('over');
};
document.ondragleave = (event) => {
  if (event.relatedTarget === null) page.drop.classList.remove('over');
};
document.ondrop = (event) => {
  event.preventDefault();
  page.drop.classList.remove('over');
  addFiles(event.dataTransfer?.files);
};
document.onpaste = (event) => {
  const files = event.clipboardData?.files;
  if (!files || files.length === 0) return;
  event.preventDefault();
  addFiles(files);
};
page.title.onchange = () => void store.put('title', page.title.value).catch(() => {});
page.token.onchange = () => {
  sessionStorage.setItem('token', page.token.value);
  complain(undefined);
  album.retry();
};
page.retry.onclick = () => {
  complain(undefined);
  album.retry();
};
page.create.onclick = () => void createDraft();
page.next.onclick = async () => {
  page.title.value = '';
  await store.put('title', '').catch(() => {});
  await album.clear();
  page.files.focus();
};

album.subscribe(render);
render();
// The page ended while the draft was on its way.
if (album.isCreating) void createDraft();

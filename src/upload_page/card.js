import { rotate } from '../../clients/js/src/rotate.js';
import { thumbHashToRgba } from '../../clients/js/src/thumbhash.js';
import { stateInWords } from './words.js';

/** @typedef {import('../../clients/js/src/album.js').Album} Photos */
/** @typedef {import('../../clients/js/src/album.js').Photo} Photo */
/** @typedef {import('../../clients/js/src/upload.js').Media} Media */

/** The longer side of previews in pixels. Whole photos of 12 megapixels would take 48 MB of memory each. */
const PREVIEW = 400;
/** How near to an edge of the window a dragged photo scrolls it, in pixels. */
const EDGE = 64;

/**
 * Returns the element that the page has.
 * @template {Element} T
 * @param {ParentNode} parent
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
export function find(parent, selector, type) {
  const found = parent.querySelector(selector);
  if (found instanceof type) return found;
  throw new Error(`The page has no ${selector}.`);
}

/** The cards of an album, and what they have in common. */
export class Board {
  /** @type {Map<string, Card>} By the ids of their photos. */
  cards = new Map();
  /** @type {Card | undefined} The one that follows a pointer. */
  dragged;
  /** Previews are drawn one after the other. */
  drawing = Promise.resolve();
  template = find(document, '#photo', HTMLTemplateElement);

  /**
   * @param {Photos} album
   * @param {(words: string) => void} say Tells a screen reader what happened.
   */
  constructor(album, say) {
    this.album = album;
    this.say = say;
  }
}

/** The elements of a photo. */
export class Card {
  /**
   * @param {Photo} photo
   * @param {Board} board
   */
  constructor(photo, board) {
    this.photo = photo;
    this.board = board;
    const content = /** @type {DocumentFragment} */ (board.template.content.cloneNode(true));
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
    this.again.onclick = () => this.board.album.retry(photo.id);
    remove.onclick = () => this.remove();
    this.handle.onkeydown = (event) => this.key(event);
    this.item.onpointerdown = (event) => this.grab(event);
    this.preview();
  }

  get place() {
    return this.board.album.photos.indexOf(this.photo);
  }

  update() {
    const { photo } = this;
    const words = stateInWords(photo);
    if (this.state.textContent !== words) this.state.textContent = words;
    this.item.className = `${photo.state}${this === this.board.dragged ? ' dragged' : ''}`;
    this.progress.value = photo.state === 'stored' ? 1 : photo.sent / Math.max(photo.size, 1);
    this.progress.hidden = photo.state === 'stored' || photo.state === 'refused';
    // A refused photo would be refused again.
    this.again.hidden = photo.state !== 'stopped';
    this.earlier.disabled = this.place === 0;
    this.later.disabled = this.place === this.board.album.photos.length - 1;
    this.turn.disabled = !['image/jpeg', 'image/png'].includes(this.board.album.blob(photo.id)?.type ?? '');
    this.turn.title = this.turn.disabled ? 'Only JPEG and PNG can be turned here' : 'Turn';
    const place = `Photo ${this.place + 1} of ${this.board.album.photos.length}: ${photo.name}`;
    if (this.handle.ariaLabel !== place) this.handle.ariaLabel = place;
    if (photo.media && photo.media !== this.shown) this.show(photo.media);
  }

  /** Shows the photo itself, drawn small, one photo after the other. */
  preview() {
    const blob = this.board.album.blob(this.photo.id);
    if (!blob) return;
    this.drawing = this.board.drawing = this.board.drawing.then(async () => {
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
    const place = Math.max(0, Math.min(this.board.album.photos.length - 1, this.place + by));
    this.board.album.move(this.photo.id, place);
    focus.focus();
    if (focus.matches(':disabled')) this.handle.focus();
    this.board.say(`${this.photo.name} is photo ${place + 1} of ${this.board.album.photos.length}.`);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const end = this.board.album.photos.length;
    /** @type {Record<string, number>} */
    const ways = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -end, End: end };
    const by = ways[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.move(by, this.handle);
  }

  async rotate() {
    const blob = this.board.album.blob(this.photo.id);
    const turned = blob && (await rotate(blob));
    if (!turned) return this.board.say(`${this.photo.name} cannot be turned: its file is damaged.`);
    this.board.album.replace(this.photo.id, turned);
    this.shown = undefined;
    this.preview();
    this.board.say(`${this.photo.name} is turned.`);
  }

  remove() {
    const place = this.place;
    this.board.album.remove(this.photo.id);
    this.board.say(`${this.photo.name} is removed.`);
    const next = this.board.album.photos[Math.min(place, this.board.album.photos.length - 1)];
    (next ? this.board.cards.get(next.id)?.handle : find(document, '#files', HTMLInputElement))?.focus();
  }

  /**
   * Begins to drag: with the mouse anywhere on the picture, with a finger only at the corner, since the rest scrolls.
   * @param {PointerEvent} event
   */
  grab(event) {
    const target = /** @type {Element} */ (event.target);
    const isHeld = target.closest('.handle') || (event.pointerType === 'mouse' && target.closest('.picture'));
    if (!isHeld || event.button !== 0 || this.handle.matches(':disabled')) return;
    event.preventDefault();
    this.handle.focus();
    drag(this, event);
  }
}

/**
 * Follows the pointer until it is released, and moves the photo to where it is.
 * @param {Card} card
 * @param {PointerEvent} begin
 */
function drag(card, begin) {
  const { album, cards, say } = card.board;
  card.board.dragged = card;
  let { clientX: x, clientY: y } = begin;
  const follow = () => {
    const item = document.elementFromPoint(x, y)?.closest('#photos > li');
    const over = [...cards.values()].find((other) => other.item === item);
    if (over && over !== card) album.move(card.photo.id, over.place);
  };
  const scroll = () => {
    if (card.board.dragged !== card) return;
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
    card.board.dragged = undefined;
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
export function storedImage(media, name) {
  const image = new Image(media.width, media.height);
  const sizes = [...(media.renditions ?? []), media];
  image.srcset = sizes.map(({ url, width }) => `${url} ${width}w`).join(', ');
  image.sizes = '(min-width: 48rem) 12rem, 45vw';
  image.src = media.url;
  image.alt = name;
  image.loading = 'lazy';
  return image;
}

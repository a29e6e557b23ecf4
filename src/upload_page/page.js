// The upload page. The server puts the files that it imports before it, into one script: see mod.rs.
import { Album } from '../../clients/js/src/album.js';
import { ProblemError } from '../../clients/js/src/problem.js';
import { IndexedDbStore, MemoryStore } from '../../clients/js/src/store.js';
import { Board, Card, find, storedImage } from './card.js';
import { inWords, mostPhotos, stateInWords } from './words.js';

/** @typedef {import('../../clients/js/src/album.js').Photo} Photo */

/** Milliseconds to wait until the page that was loaded before this one lets the album go. */
const HANDOVER = 2000;

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
};
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
const board = new Board(album, say);
const keptTitle = await store.get('title').catch(() => undefined);
// What was written while the store opened wins.
page.title.value ||= keptTitle ?? '';

/**
 * Tells a screen reader what happened, beside the numbers.
 * @param {string} words
 */
function say(words) {
  said = words;
  render();
}
let said = '';

function keepTitle() {
  void store.put('title', page.title.value).catch(() => {});
}

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
  for (const [id, card] of board.cards) {
    if (album.photos.includes(card.photo)) continue;
    card.item.remove();
    board.cards.delete(id);
  }
  album.photos.forEach((photo, place) => {
    const card = board.cards.get(photo.id) ?? new Card(photo, board);
    board.cards.set(photo.id, card);
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
  const amount = draft.photos.length === 1 ? '1 photo' : `${draft.photos.length} photos`;
  page.doneText.textContent = `It has ${amount}.${left.length > 0 ? ' These were left out:' : ''}`;
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
page.title.onchange = keepTitle;
keepTitle();
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
page.next.onclick = () => {
  page.title.value = '';
  void store.put('title', '').catch(() => {});
  void album.clear();
  page.files.focus();
};

album.subscribe(render);
render();
// The page ended while the draft was on its way.
if (album.isCreating) void createDraft();

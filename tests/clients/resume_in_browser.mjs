// Posts the draft of photos that a recipe of docs/api.md uploads to the server of the page. The test puts the recipe beside this file.
import { makeDraft } from './make_draft.mjs';
import { uploadPhotos } from './recipe.mjs';

async function file(at) {
  const photo = await (await fetch(`/photos/${at}`)).blob();
  return new File([photo], `photo ${at}.jpg`, { type: 'image/jpeg' });
}

async function draft() {
  const parameters = new URLSearchParams(location.search);
  const count = Number(parameters.get('photos'));
  const files = await Promise.all(Array.from({ length: count }, (_, at) => file(at)));
  return makeDraft(uploadPhotos, parameters.get('server'), files);
}

const result = await draft().then(JSON.stringify, (error) => `${error.stack}`);
await fetch('/done', { method: 'POST', body: result });

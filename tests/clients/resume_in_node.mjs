// Prints the draft of photos that a recipe of docs/api.md uploads. The test puts the recipe beside this file.
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { makeDraft } from './make_draft.mjs';
import { uploadPhotos } from './recipe.mjs';

const [server, ...paths] = process.argv.slice(2);
const named = async (path) => Object.assign(await readFile(path), { name: basename(path) });
const files = await Promise.all(paths.map(named));
console.log(JSON.stringify(await makeDraft(uploadPhotos, server, files)));

// Uploads photos with fetch and FormData: of known length, and as a stream, which goes out in chunks.
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';

const [url, ...paths] = process.argv.slice(2);
const form = new FormData();
form.append('title', 'same');
for (const path of paths) {
  form.append('files', new Blob([await readFile(path)], { type: 'image/jpeg' }), basename(path));
}
const streamed = new Response(form);
const contentType = streamed.headers.get('content-type');
const drafts = [];
for (const options of [
  { body: form },
  { body: streamed.body, duplex: 'half', headers: { 'content-type': contentType } },
]) {
  const response = await fetch(url, { method: 'POST', ...options });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`${response.status}: ${text}`);
  drafts.push(JSON.parse(text));
}
console.log(JSON.stringify(drafts));

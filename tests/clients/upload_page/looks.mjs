// Looks at the page at several widths, in light and dark, and takes screenshots where a directory for them is given.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { card, check, choose, names, open, seriousProblems, until } from './browser.mjs';

const [url, pictures] = process.argv.slice(2);
const WIDTHS = { 320: 640, 768: 900, 1280: 900 };
const { browser, context, page, errors } = await open({ hasTouch: true });
const dir = await mkdtemp(join(tmpdir(), 'looks-'));

/** Draws a picture and writes it to a file: a shoe's worth of colour, since photos of others have licences. */
async function draw(name, seed, scale = 1) {
  const base64 = await page.evaluate(
    async ({ seed, scale }) => {
      const [width, height] = seed % 3 === 1 ? [900, 1200] : [1200, 900];
      const canvas = new OffscreenCanvas(width * scale, height * scale);
      const context = canvas.getContext('2d');
      context.scale(scale, scale);
      const hue = (seed * 67) % 360;
      const sky = context.createLinearGradient(0, 0, 0, height);
      sky.addColorStop(0, `hsl(${hue} 70% 78%)`);
      sky.addColorStop(1, `hsl(${hue + 40} 75% 92%)`);
      context.fillStyle = sky;
      context.fillRect(0, 0, width, height);
      context.fillStyle = `hsl(${hue + 45} 95% 62%)`;
      context.beginPath();
      context.arc(width * (0.25 + (seed % 4) * 0.15), height * 0.32, width * 0.11, 0, 7);
      context.fill();
      for (let hill = 0; hill < 3; hill++) {
        context.fillStyle = `hsl(${hue + 130 + hill * 12} 38% ${52 - hill * 13}%)`;
        context.beginPath();
        context.moveTo(0, height);
        for (let x = 0; x <= width; x += 10) {
          context.lineTo(x, height * (0.52 + hill * 0.14) + Math.sin(x / (170 - hill * 30) + seed * 2 + hill) * height * 0.07);
        }
        context.lineTo(width, height);
        context.fill();
      }
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/jpeg', quality: scale > 1 ? 1 : 0.85 })).arrayBuffer());
      let text = '';
      for (const byte of bytes) text += String.fromCharCode(byte);
      return btoa(text);
    },
    { seed, scale },
  );
  const path = join(dir, name);
  await writeFile(path, Buffer.from(base64, 'base64'));
  return path;
}

/** Asserts that the page fits its window, and that axe-core finds nothing serious, at each width and in each scheme. */
async function look(state) {
  for (const [width, height] of Object.entries(WIDTHS)) {
    await page.setViewportSize({ width: Number(width), height });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      const where = `${state}, ${width} px, ${colorScheme}`;
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      check(wide <= 0, `${where}: ${wide} px too wide`);
      const serious = await seriousProblems(page);
      check(serious.length === 0, `${where}: ${serious}`);
      const small = await page.locator('button:visible, .button:visible, summary:visible').evaluateAll((targets) =>
        targets.map((target) => [target.className, target.getBoundingClientRect()]).filter(([, { width, height }]) => width < 24 || height < 24),
      );
      check(small.length === 0, { where, small });
      if (pictures && state === 'photos') {
        // As high as the page, so that the bar is at its end.
        await page.setViewportSize({ width: Number(width), height: await page.evaluate(() => document.documentElement.scrollHeight) });
        await page.screenshot({ path: join(pictures, `upload-${width}-${colorScheme}.png`) });
        await page.setViewportSize({ width: Number(width), height });
      }
    }
  }
}

await page.goto(`${url}/upload`);
await look('empty');

const seeds = ['front.jpg', 'back.jpg', 'sole.jpg', 'label.jpg', 'box.jpg'];
const files = [];
// One is so large that it takes a second request, and stays on its way.
for (const [seed, name] of seeds.entries()) files.push(await draw(name, seed, name === 'label.jpg' ? 3 : 1));
const notes = join(dir, 'receipt.pdf');
await writeFile(notes, '%PDF-1.7 not a photo');
const onItsWay = new Promise((resolve) => {
  page.route('**/api/v1/uploads/*', (route) => (route.request().method() === 'PATCH' ? resolve(route) : route.continue()));
});
await page.fill('#title', 'Walking shoes, size 42');
await choose(page, [...files.slice(0, 3), notes, ...files.slice(3)]);
await until(page, (now) => now.filter((state) => state === 'stored').length >= 4 && now.includes('refused'), 'the rest is done');
const words = await card(page, notes).locator('.state').textContent();
check(words.startsWith('This is not a photo that the server can read.'), words);
await page.locator('#title').blur();
await look('photos');
await (await onItsWay).continue();
await page.unrouteAll();
await until(page, (now) => !now.includes('sending'), 'the large one is stored');

// A photo turns without being encoded here, and is shown turned.
const sides = () => card(page, files[0]).locator('canvas').evaluate(({ width, height }) => [width, height]);
const upright = await sides();
await card(page, files[0]).locator('.turn').click();
await page.waitForFunction(() => document.querySelector('#status').textContent.includes('is turned'));
await until(page, (now) => now.filter((state) => state === 'stored').length === 5, 'the turned one is stored');
const turned = await sides();
check(upright[0] > upright[1] && turned[0] < turned[1], { upright, turned });

// With a finger a photo is dragged by its corner.
const middle = async (locator) => {
  const { x, y, width, height } = await locator.boundingBox();
  return [{ x: x + width / 2, y: y + height / 2 }];
};
const touch = await context.newCDPSession(page);
const order = async () => (await names(page)).slice(0, 3).join(' ');
await page.evaluate(() => scrollTo(0, 0));
const handle = card(page, files[0]).locator('.handle');
await touch.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: await middle(handle) });
await touch.send('Input.dispatchTouchEvent', { type: 'touchMove', touchPoints: await middle(card(page, files[2]).locator('.picture')) });
await touch.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
check((await order()) === 'back.jpg sole.jpg front.jpg', await order());

// A format that the browser does not decode is shown as the server stored it: a placeholder first, then the smallest copy that is large
// enough. Here the page is made to believe that it cannot decode, and that the server has copies of each width. The placeholder is the server's.
await page.evaluate(() => {
  globalThis.createImageBitmap = () => Promise.reject(new Error('unknown format'));
  const { get } = Object.getOwnPropertyDescriptor(XMLHttpRequest.prototype, 'responseText');
  Object.defineProperty(XMLHttpRequest.prototype, 'responseText', {
    get() {
      const text = get.call(this);
      const upload = text.startsWith('{') ? JSON.parse(text) : {};
      if (!upload.media) return text;
      upload.media.renditions = [320, 640].map((width) => ({ url: `${upload.media.url}?${width}`, width, height: 1 }));
      return JSON.stringify(upload);
    },
  });
});
const unknown = await draw('side.jpg', 7);
await choose(page, [unknown]);
const copy = card(page, unknown).locator('img');
await copy.waitFor();
check((await copy.getAttribute('srcset')).includes('?320 320w, '), await copy.getAttribute('srcset'));
check((await card(page, unknown).locator('canvas').evaluate(({ width, height }) => Math.max(width, height))) === 32, 'There is no placeholder.');
await page.waitForFunction(() => [...document.querySelectorAll('.picture img')].every((image) => image.complete && image.naturalWidth > 0));

// Dropped and pasted files are added; a photo is removed, and the focus stays in the list.
for (const [type, data] of [['drop', 'dataTransfer'], ['paste', 'clipboardData']]) {
  await page.evaluate(
    ({ type, data }) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(9)], `${type}.bin`));
      const Type = type === 'drop' ? DragEvent : ClipboardEvent;
      document.body.dispatchEvent(new Type(type, { bubbles: true, cancelable: true, [data]: transfer }));
    },
    { type, data },
  );
}
check((await card(page, 'drop.bin').count()) === 1 && (await card(page, 'paste.bin').count()) === 1, 'Nothing was dropped or pasted.');
await card(page, 'drop.bin').locator('.remove').click();
await card(page, 'paste.bin').locator('.remove').click();
check(await page.evaluate(() => document.activeElement.matches('.handle')), 'The focus is lost.');

await page.click('#create');
await page.locator('#done').waitFor();
check((await page.evaluate(() => document.activeElement.id)) === 'done-title', 'The result has no focus.');
await look('draft');
await page.click('#next');
check((await page.inputValue('#title')) === '' && (await page.locator('#photos > li').count()) === 0, 'The page is not empty.');

// More photos than a draft may have.
await choose(page, Array(4).fill(files).flat().concat(files[0]));
const message = await page.textContent('#message');
check((await page.locator('#photos > li').count()) === 20 && message.includes('1 were not added'), message);
check(errors.length === 0, errors);
await browser.close();
await rm(dir, { recursive: true });

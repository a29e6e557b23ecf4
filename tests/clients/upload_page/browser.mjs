// Chromium with the upload page, for the scripts beside this file. tests/it/upload_page.rs runs them.
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';

const require = createRequire(`${process.env.VINTEDBOT_TEST_NODE_MODULES}/`);
const { chromium } = require('playwright-core');
const axe = await readFile(require.resolve('axe-core/axe.min.js'), 'utf8');

/** Milliseconds after which a run hangs, and a step of it. A busy machine takes a minute for what takes seconds elsewhere. */
const LONGEST = 600_000;
const LONGEST_STEP = 100_000;
setTimeout(() => {
  console.error('The script takes too long.');
  process.exit(1);
}, LONGEST).unref();

/** Opens the browser, and collects what its console says in `errors`. */
export async function open(options = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.VINTEDBOT_TEST_CHROMIUM,
    // Chromium has no sandbox for root, and the pages are those of the test.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
  const context = await browser.newContext(options);
  context.setDefaultTimeout(LONGEST_STEP);
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(`${error.stack ?? error}`));
  page.on('console', (message) => {
    // The browser reports each failed request there: the tests cut connections and send bad photos.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) errors.push(message.text());
  });
  return { browser, context, page, errors };
}

/** Asserts with what was found. */
export function check(holds, found) {
  if (!holds) throw new Error(typeof found === 'string' ? found : JSON.stringify(found));
}

export const choose = (page, paths) => page.setInputFiles('#files', paths);
export const names = (page) => page.locator('#photos > li .name').allTextContents();
export const states = (page) => page.locator('#photos > li').evaluateAll((items) => items.map((item) => item.className.split(' ')[0]));
export const card = (page, path) => page.locator('#photos > li').filter({ hasText: basename(path) });

/** Waits until a function of the page's states holds. */
export async function until(page, holds, what) {
  for (const started = Date.now(); ; ) {
    const now = await states(page);
    if (holds(now)) return now;
    check(Date.now() - started < LONGEST_STEP, `${what}: ${now}`);
    await page.waitForTimeout(50);
  }
}

/** Drags a photo by its corner to the place of another one. Near an edge of the window the page scrolls. */
export async function dragTo(page, path, otherPath) {
  const handle = card(page, path).locator('.handle');
  for (let tries = 0; ; tries++) {
    await handle.evaluate((element) => element.scrollIntoView({ block: 'center' }));
    const from = await handle.boundingBox();
    await page.mouse.move(from.x + from.width / 2, from.y + from.height / 2);
    await page.mouse.down();
    // Cards grow while their states change, so that the corner may have left.
    if ((await card(page, path).getAttribute('class')).includes('dragged')) break;
    check(tries < 50, `${path} cannot be dragged.`);
    await page.mouse.up();
  }
  const { width, height } = page.viewportSize();
  const target = card(page, otherPath).locator('.picture');
  for (let tries = 0; ; tries++) {
    const { y, height: side } = await target.boundingBox();
    const middle = y + side / 2;
    if (middle > 120 && middle < height - 160) break;
    await page.mouse.move(width / 2, middle <= 120 ? 10 : height - 10);
    check(tries < 500, `${otherPath} does not come into view.`);
    await page.waitForTimeout(20);
  }
  // Away from the edge, so that nothing scrolls while the place is measured.
  await page.mouse.move(width / 2, height / 2);
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  const to = await target.boundingBox();
  await page.mouse.move(to.x + to.width / 2, to.y + to.height / 2, { steps: 8 });
  await page.mouse.up();
}

/** Returns what axe-core finds that is serious or critical. */
export async function seriousProblems(page) {
  // Not as a script of the page, which its policy forbids.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}

// Uploads twenty photos, one of them broken, through a proxy that cuts connections, and reloads the page in the middle.
// Prints the names of the draft's photos in the order in which the page showed them.
import { basename } from 'node:path';
import { card, check, choose, dragTo, names, open, until } from './browser.mjs';

const [url, broken, ...photos] = process.argv.slice(2);
const { browser, context, page, errors } = await open();
// As slow as a phone, so that there is a middle in which the page is reloaded.
const network = await context.newCDPSession(page);
const limit = (bytesPerSecond) =>
  network.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput: bytesPerSecond,
  });
await page.goto(`${url}/upload`);
await limit(50_000);
await page.fill('#title', 'Through a tunnel');
await page.locator('#title').blur();
await choose(page, [...photos.slice(0, 7), broken, ...photos.slice(7)]);
const added = await names(page);
check(added.length === 20, added);

// By dragging: the last photo to the second place, the broken one to the end.
await dragTo(page, photos[18], photos[1]);
await dragTo(page, broken, photos[17]);
const dragged = await names(page);
const others = [photos[0], photos[18], ...photos.slice(1, 18)].map((path) => basename(path));
check(JSON.stringify(dragged) === JSON.stringify([...others, basename(broken)]), dragged);

await limit(1_500_000);
const before = await until(page, (now) => now.filter((state) => state === 'stored').length >= 4, 'four are stored');
check(before.includes('sending') || before.includes('waiting'), before);
await page.reload();
await page.waitForFunction(() => document.querySelectorAll('#photos > li').length === 20);
const reloaded = await names(page);
check(JSON.stringify(reloaded) === JSON.stringify(dragged), reloaded);
check((await page.inputValue('#title')) === 'Through a tunnel', 'The title is lost.');

await limit(-1);

// By keyboard: the first photo two places later, and the focus stays.
await card(page, photos[0]).locator('.handle').focus();
await page.keyboard.press('ArrowRight');
await page.keyboard.press('ArrowDown');
check(await card(page, photos[0]).locator('.handle').evaluate((handle) => handle === document.activeElement), 'The focus is lost.');
const ordered = (await names(page)).filter((name) => name !== basename(broken));
check(ordered[2] === basename(photos[0]) && ordered[0] === basename(photos[18]), ordered);

await page.click('#create');
await page.locator('#done').waitFor();
const left = await page.locator('#left-out li').allTextContents();
check(left.length === 1 && left[0] === `${basename(broken)}: The file is incomplete: it ends before the picture does.`, left);
check((await page.locator('#stored img').count()) === 19, 'The stored photos are not shown.');
// After another reload it is still the same draft.
const title = await page.textContent('#done-title');
await page.reload();
await page.locator('#done').waitFor();
check((await page.textContent('#done-title')) === title, title);
check(errors.length === 0, errors);
await browser.close();
console.log(JSON.stringify(ordered));

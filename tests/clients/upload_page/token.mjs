// Uploads to a server that demands a token, which the page asks for. Prints the id of the draft.
import { check, choose, open, seriousProblems, until } from './browser.mjs';

const [url, token, ...photos] = process.argv.slice(2);
const { browser, page, errors } = await open();
await page.goto(`${url}/upload`);
await choose(page, photos);
await until(page, (now) => now.every((state) => state === 'stopped'), 'all are stopped');
check(await page.evaluate(() => document.activeElement.id === 'token'), 'The page does not ask for the token.');
const serious = await seriousProblems(page);
check(serious.length === 0, serious);
await page.keyboard.type(token);
await page.keyboard.press('Enter');
await until(page, (now) => now.every((state) => state === 'stored'), 'all are stored');
await page.reload();
await page.click('#create');
await page.locator('#done').waitFor();
const title = await page.textContent('#done-title');
check(errors.length === 0, errors);
await browser.close();
console.log(title.replace('Draft ', ''));

// sharp, as its documentation shows it, at its own quality 80. By default it converts to sRGB and drops metadata. The
// background of transparent pixels is white here, and black by default.
// Its argument is the directory that sharp is installed in. The protocol is that of protocol.py.
const fs = require('fs');
const path = require('path');
const readline = require('readline');
const sharp = require(path.join(process.argv[2], 'node_modules', 'sharp'));

sharp.concurrency(1);
sharp.cache(false);

const sources = [];
let output = Buffer.alloc(0);

const small = (raw) =>
  sharp(raw)
    .rotate()
    .resize(1600, 1600, {fit: 'inside', withoutEnlargement: true})
    .flatten({background: 'white'})
    .jpeg({quality: 80, optimiseCoding: true})
    .toBuffer();

async function answer(line) {
  const space = line.indexOf(' ');
  const [command, argument] = space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
  switch (command) {
    case 'about': {
      const {sharp: version, vips} = sharp.versions;
      return JSON.stringify({name: 'sharp', version: `${version} (libvips ${vips}, node ${process.versions.node})`, profile: 'converted', alpha: 'white'});
    }
    case 'load':
      return String(sources.push(fs.readFileSync(argument)) - 1);
    case 'run': {
      output = null;
      const wall = performance.now();
      const cpu = process.cpuUsage();
      try {
        output = await small(sources[Number(argument)]);
      } catch (error) {
        return `- ${error.message.replace(/\s+/g, ' ')}`;
      }
      const {user, system} = process.cpuUsage(cpu);
      return `${performance.now() - wall} ${(user + system) / 1000} ${output.length}`;
    }
    case 'save':
      fs.writeFileSync(argument, output);
      return 'saved';
    default:
      throw new Error(`no such command: ${command}`);
  }
}

(async () => {
  for await (const line of readline.createInterface({input: process.stdin})) {
    console.log(await answer(line));
  }
})();

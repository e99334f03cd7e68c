// What the verifier in JavaScript keeps of each of these packs behind its verdict, in bytes: what is on its heap, and in
// arrays beside it. One JSON list of {receipts, attachments, bytes} on stdout. The first is there to warm it up.
//
//     node --expose-gc memory.mjs GENESIS PACK …
import { readFileSync } from "node:fs";
import { load } from "../../vectors/run.mjs";

const helm = load();
const [genesis, ...paths] = process.argv.slice(2);
const packs = paths.map((path) => new Uint8Array(readFileSync(path)));

async function verified(pack) {
  const checklist = new helm.checklist.Checklist({ genesis });
  const report = await checklist.run(pack);
  if (report.exit !== 0) throw new Error(JSON.stringify(report));
  return checklist;
}

async function kept() {
  for (let n = 0; n < 3; n++) {
    await new Promise((resolve) => setTimeout(resolve)); // what was awaited is let go
    globalThis.gc();
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const held = [];
const said = [];
for (const pack of packs) {
  const before = await kept();
  held.push(await verified(pack));
  const { log, pack: read } = held.at(-1);
  said.push({ receipts: log.size, attachments: read.attachments.held, bytes: (await kept()) - before });
}
console.log(JSON.stringify(said));

// The verifier in JavaScript over many packs: frames on stdin, one report in a line on stdout for each.
//
//     node judge.mjs [--compute] < frames
//
// A frame is a line of JSON, {genesis, known_head (base64), require_resolved, bytes}, and then that many bytes of a pack.
import { readFileSync } from "node:fs";
import { load } from "../../vectors/run.mjs";

const helm = load();
if (process.argv.includes("--compute")) helm.ed25519.computeHere();

const frames = readFileSync(0);
for (let at = 0; at < frames.length; ) {
  const end = frames.indexOf(10, at);
  const { genesis, known_head, require_resolved, bytes } = JSON.parse(frames.toString("utf8", at, end));
  const pack = new Uint8Array(frames.subarray(end + 1, end + 1 + bytes));
  const knownHead = known_head === null ? null : new Uint8Array(Buffer.from(known_head, "base64"));
  const report = await helm.verify(pack, { genesis, knownHead, requireResolved: require_resolved });
  process.stdout.write(JSON.stringify(report) + "\n");
  at = end + 1 + bytes;
}

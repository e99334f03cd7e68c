// The verifier in JavaScript over many packs: frames on stdin, one report in a line on stdout for each.
//
//     node judge.mjs [--compute] < frames
//
// A frame is a line of JSON, {genesis, known_heads (base64 each), witnesses (base64), max_age ([seconds, now]),
// require_resolved, bytes}, where null stands for what is not asked, and then that many bytes of a pack.
import { readFileSync } from "node:fs";
import { judge, load } from "../../vectors/run.mjs";

const helm = load();
if (process.argv.includes("--compute")) helm.ed25519.computeHere();

const unbase64 = (text) => new Uint8Array(Buffer.from(text, "base64"));
const frames = readFileSync(0);
for (let at = 0; at < frames.length; ) {
  const end = frames.indexOf(10, at);
  const { genesis, known_heads, witnesses, max_age, require_resolved, bytes } = JSON.parse(frames.toString("utf8", at, end));
  const pack = new Uint8Array(frames.subarray(end + 1, end + 1 + bytes));
  const [maxAgeS, now] = max_age ?? [null, null];
  const asked = { genesis, knownHeads: (known_heads ?? []).map(unbase64), maxAgeS, now, requireResolved: require_resolved };
  const report = await judge(helm, pack, { ...asked, witnesses: (witnesses ?? null) === null ? null : unbase64(witnesses) });
  process.stdout.write(JSON.stringify(report) + "\n");
  at = end + 1 + bytes;
}

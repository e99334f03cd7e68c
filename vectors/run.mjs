// Runs every case of vectors/pack through the verifier in JavaScript, which was first written from docs/spec and
// these vectors alone, and compares exit, verdict and the set of codes with what is expected. Node 18 or later, no dependencies.
//
//     node vectors/run.mjs [--compute] [case …]
//
// `--compute`: verify signatures by BigInt and not by WebCrypto, as an older browser would.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runInThisContext } from "node:vm";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const PAGE = join(HERE, "../src/helm_ai_kernel/verifier/page");

// The same text that the page holds, in the same order.
export function load() {
  const files = JSON.parse(readFileSync(join(PAGE, "page.json"), "utf8")).verifier;
  const text = files.map((file) => readFileSync(join(PAGE, file), "utf8")).join("\n");
  return runInThisContext(`(() => {${text}\nreturn helm;\n})()`, "verifier");
}

// The report; of a wrong question what stands for one.
export async function judge(helm, pack, asked) {
  try {
    return await helm.verify(pack, asked);
  } catch (error) {
    if (!(error instanceof helm.findings.Usage)) throw error;
    return { verdict: "USAGE", exit: 64, findings: [], usage: error.message };
  }
}

export async function run(helm, folder) {
  const bytes = (name) => (existsSync(join(folder, name)) ? new Uint8Array(readFileSync(join(folder, name))) : null);
  const text = (name) => bytes(name) && new TextDecoder().decode(bytes(name)).trim();
  const expected = JSON.parse(text("expected.json"));
  const [maxAge, now] = text("max_age.txt")?.split(" ") ?? [null, null];
  const asked = {
    genesis: text("genesis.txt"),
    knownHeads: ["known_head.txt"].map(bytes).filter((head) => head),
    witnesses: bytes("witnesses.txt"),
    maxAgeS: maxAge === null ? null : Number(maxAge),
    now,
    requireResolved: expected.require_resolved ?? false,
  };
  return { expected, report: await judge(helm, bytes("pack.tar"), asked) };
}

async function main(words) {
  const helm = load();
  if (words.includes("--compute")) helm.ed25519.computeHere();
  const wanted = words.filter((word) => !word.startsWith("--"));
  const cases = wanted.length ? wanted : readdirSync(join(HERE, "pack")).sort();
  let failed = 0;
  for (const name of cases) {
    const { expected, report } = await run(helm, join(HERE, "pack", name));
    const said = ({ exit, verdict, codes }) => `${exit} ${verdict} ${codes.join(" ")}`;
    const codes = [...new Set(report.findings.map((finding) => finding.code))].sort();
    const [want, got] = [said(expected), said({ ...report, codes })];
    if (want === got && !wanted.length) continue;
    if (want !== got) failed++;
    console.log(`${name}\n  expected ${want}\n  got      ${got}`);
    for (const { code, step, where, detail } of report.findings) console.log(`    ${code} (${step}, ${where}): ${detail}`);
    if (wanted.length) console.log(JSON.stringify({ ...report, findings: undefined }));
  }
  console.log(`${cases.length - failed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));

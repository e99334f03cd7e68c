// The page: a pack is dropped, a genesis is pasted, perhaps a known head is brought; everything happens here, in this
// file, and nothing is asked of a network. Every answer ends with what is not proven.
(() => {
  "use strict";
  const KNOWN_HEAD_BYTES_MAX = 1 << 20;
  const at = (id) => document.getElementById(id);
  let packFile = null;
  let asked = 0; // the newest question: an older answer is thrown away

  function say(...text) {
    at("state").replaceChildren(...text);
  }

  function clear() {
    at("answer").replaceChildren();
  }

  async function verify() {
    if (!packFile) return;
    const mine = ++asked;
    clear();
    const genesis = at("genesis").value.trim();
    if (genesis && !helm.forms.DIGEST.test(genesis)) return say("A genesis digest is `sha256:` and 64 lowercase hex digits. Nothing was verified.");
    say("Reading …");
    try {
      const head = at("head").files[0] ?? null;
      if (head && head.size > KNOWN_HEAD_BYTES_MAX) return say("The known head is no checkpoint: it is too long. Nothing was verified.");
      const knownHead = head && new Uint8Array(await head.arrayBuffer());
      const pack = new Uint8Array(await packFile.arrayBuffer());
      const progress = (done, all) => mine === asked && say(`Verifying: ${done} of ${all} receipts …`);
      const checklist = new helm.checklist.Checklist({ genesis: genesis || null, knownHead, requireResolved: at("resolved").checked, progress });
      const report = await checklist.run(pack);
      if (mine === asked) answer(checklist, report);
    } catch (error) {
      if (mine === asked) say("The file could not be verified; this is not a verdict: " + helm.bytes.printable(error.message, 300));
    }
  }

  function answer(checklist, report) {
    const { show } = helm;
    say("");
    const box = at("answer");
    box.append(show.report(report));
    if (checklist.entries) {
      const tale = helm.tale.of(checklist, report);
      box.append(show.story(tale, report.verdict));
      if (tale.entries.length) box.append(show.graph(helm.graph.layout(tale)));
    }
    box.append(show.notProven(report));
  }

  function choose(file) {
    if (!file) return;
    packFile = file;
    at("chosen").replaceChildren(helm.bytes.printable(file.name, 200), ` (${file.size} bytes)`);
    verify();
  }

  const drop = at("drop");
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    choose(event.dataTransfer.files[0]);
  });
  drop.addEventListener("dragenter", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  at("pack").addEventListener("change", (event) => choose(event.target.files[0]));
  for (const id of ["genesis", "head", "resolved"]) at(id).addEventListener("change", verify);
  at("again").addEventListener("click", verify);
})();

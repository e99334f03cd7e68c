// The page: a pack is dropped, a genesis is pasted, perhaps more is brought; everything happens here, in this file, and
// nothing is asked of a network. Every answer ends with what is not proven. In a thread of its own the same script only
// serves (service.js).
(() => {
  "use strict";
  if (typeof document === "undefined") return helm.service.serve(self);
  const BROUGHT_BYTES_MAX = 1 << 20; // a checkpoint or a policy is shorter
  const SCRIPT = document.currentScript.textContent;
  const WHAT = { bytes: "reading", receipts: "receipts", attachments: "attachments" };
  const at = (id) => document.getElementById(id);
  let packFile = null;
  let running = null; // the service that verifies or tells
  let story = null;
  let question = null; // what was asked last

  function say(...text) {
    at("state").replaceChildren(...text);
  }

  async function bytesOf(file) {
    if (file.size > BROUGHT_BYTES_MAX) throw new helm.findings.Usage(`\`${file.name}\` is too long to be what it has to be`);
    return new Uint8Array(await file.arrayBuffer());
  }

  // What the person at this page brings: nothing of it is the pack's.
  async function asked() {
    const [genesis, age, pasted] = ["genesis", "age", "witnesses"].map((id) => at(id).value.trim());
    const maxAgeS = age ? helm.words.seconds(age) : null;
    if (Number.isNaN(maxAgeS)) throw new helm.findings.Usage("a maximum age is a number and `s`, `m`, `h` or `d`: 24h");
    const [file] = at("witnesses-file").files;
    if (file && pasted) throw new helm.findings.Usage("the witness policy is both pasted and a file");
    const witnesses = file ? await bytesOf(file) : pasted ? helm.bytes.utf8(pasted) : null;
    const knownHeads = await Promise.all([...at("heads").files].map(bytesOf));
    return { genesis: genesis || null, knownHeads, witnesses, maxAgeS, requireResolved: at("resolved").checked };
  }

  // What stands in the form: leaving a field that was filled before the pack came is no new question.
  function written() {
    const files = ["heads", "witnesses-file"].flatMap((id) => [id, ...[...at(id).files].map(({ name, size, lastModified }) => [name, size, lastModified])]);
    return JSON.stringify([...["genesis", "age", "witnesses"].map((id) => at(id).value.trim()), at("resolved").checked, files]);
  }

  async function verify() {
    if (!packFile) return;
    stop();
    question = written();
    at("answer").replaceChildren();
    say("Reading …");
    const service = await helm.service.start(SCRIPT, (what, done, all) => running === service && say(progress(what, done, all)));
    running?.cancel();
    running = service;
    at("cancel").hidden = false;
    try {
      const answer = await service.ask("verify", packFile, await asked());
      if (running === service) await show(service, answer);
    } catch (error) {
      fail(service, error);
    }
    if (running === service) at("cancel").hidden = true;
  }

  // Nothing that was said of a file stands beside an error: nobody may read an old verdict there.
  function fail(service, error) {
    if (running !== service) return;
    stop();
    at("answer").replaceChildren();
    const why = helm.bytes.printable(error.message, 300);
    if (error instanceof helm.findings.Usage) say(`Nothing was verified: ${why}.`);
    else say("The file could not be verified; this is not a verdict: " + why);
  }

  function progress(what, done, all) {
    const { number } = helm.words;
    return what === "bytes" ? `Reading: ${Math.floor((100 * done) / Math.max(all, 1))} % …` : `Verifying: ${number(done)} of ${number(all)} ${WHAT[what]} …`;
  }

  function stop() {
    running?.cancel();
    running = story = null;
    at("cancel").hidden = true;
  }

  async function show(service, answer) {
    const { report, overview } = answer;
    // Where there is no answer, nobody goes on.
    const ask = (...words) => service.ask(...words).catch((error) => (fail(service, error), new Promise(() => {})));
    say("");
    const box = at("answer");
    box.append(helm.show.report(answer));
    if (report.log !== null) {
      story = new helm.story.Story(ask, answer);
      box.append(story.box);
      if (overview.receipts) {
        await story.more();
        box.append(helm.show.graph(helm.graph.layout(await ask("first", helm.graph.NODES_MAX)), overview.receipts));
      }
    }
    box.append(helm.show.notProven(report));
  }

  function choose(file) {
    if (!file) return;
    packFile = file;
    at("chosen").replaceChildren(helm.bytes.printable(file.name, 200), ` (${helm.words.number(file.size)} bytes)`);
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
  // A link to a receipt that is not shown: the file is asked for it.
  document.addEventListener("click", (event) => {
    const [, index] = /^#receipt-([0-9]+)$/.exec(event.target.closest("a.ref")?.getAttribute("href") ?? "") ?? [];
    if (index === undefined || at("receipt-" + index) || !story) return;
    event.preventDefault();
    story.find(index);
  });
  at("pack").addEventListener("change", (event) => choose(event.target.files[0]));
  for (const id of ["genesis", "heads", "witnesses", "witnesses-file", "age", "resolved"]) at(id).addEventListener("change", () => written() !== question && verify());
  at("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    verify();
  });
  at("cancel").addEventListener("click", () => {
    stop();
    say("Cancelled. Nothing was verified.");
  });
})();

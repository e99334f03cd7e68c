// The checklist of verification.md, V1 to V17, in its order. A step that fails is a finding, and the next one is made
// all the same as far as there is something to look at. Keys, pins, heads and witnesses come from the one who asks, never
// from the pack that they judge.
//
//     helm.verify(pack, {genesis, knownHeads, witnesses, maxAgeS, now, requireResolved}) -> Promise of a report
//
// `pack` is its bytes, a file, or `{size, read(at, count)}`; `genesis` the pinned digest or null, `knownHeads` a list of
// checkpoints (bytes), `witnesses` a witness policy (bytes) or null, `maxAgeS` seconds or null, `now` a time in RFC 3339
// (null: this machine's clock). A wrong question throws helm.findings.Usage (exit 64).
helm.checklist = (() => {
  "use strict";
  const { Fault, Usage, Findings } = helm.findings;

  class Checklist {
    constructor({ genesis = null, knownHeads = [], witnesses = null, maxAgeS = null, now = null, requireResolved = false, progress = () => {} } = {}) {
      if (genesis !== null && !helm.forms.DIGEST.test(genesis)) throw new Usage("a genesis is `sha256:` and 64 lowercase hex digits");
      if (maxAgeS !== null && !(Number.isSafeInteger(maxAgeS) && maxAgeS >= 0)) throw new Usage("a maximum age is a whole number of seconds");
      this.now = now === null ? Date.now() : Date.parse(now);
      if (Number.isNaN(new Date(this.now - 1000 * (maxAgeS ?? 0)).getTime())) throw new Usage("a maximum age reaches back to no time that there is");
      this.policy = witnesses === null ? null : helm.quorum.read(witnesses);
      Object.assign(this, { genesis, knownHeads, maxAgeS, requireResolved, progress });
      this.findings = new Findings({ witnesses: this.policy ? "unknown" : "not_asked" });
      Object.assign(this, { pack: null, manifest: null, log: null, registry: null, notes: null });
    }

    found(step, where = "pack") {
      return (fault) => this.findings.add(step, where, fault.code, fault.message);
    }

    add(step, place, code, detail) {
      this.findings.add(step, place === null ? "pack" : "receipt " + place, code, detail);
    }

    get isPart() {
      return this.pack?.isPart ?? false;
    }

    async run(pack) {
      this.source = helm.source.of(pack);
      this.pack = await this.findings.attempted(1, "pack", () => helm.pack.open(this.source, this.progress)); // V1
      if (this.pack) await this.findings.attempted(2, "pack", () => this.readPack()); // V2
      if (!this.manifest) {
        this.findings.axes.leaveOpen("signers", "completeness");
        return this.report();
      }
      await this.compareFiles();
      await this.readRegistry();
      this.notes = new helm.notes.Notes(this);
      await this.notes.read();
      this.reliance = new helm.reliance.Reliance(this.registry);
      this.reading = new helm.reading.Reading(this);
      await this.reading.run();
      await this.checkTree();
      await this.comparePack();
      for (const head of this.knownHeads) await this.checkKnownHead(head);
      this.checkAge();
      return this.report();
    }

    // V2: without manifest and whole lines there is nothing to look at.
    async readPack() {
      const manifest = await helm.pack.readManifest(this.pack);
      const { log, digest } = await helm.log.read(this.source, this.pack.places.get("receipts.jsonl"), this.progress);
      Object.assign(this, { manifest, log, digest });
    }

    // V2, as far as it needs no receipt.
    async compareFiles() {
      await helm.pack.compareFiles(this.manifest, this.pack, this.digest, this.found(2));
      this.policies = await helm.policies.read(this.pack, this.found(2));
      this.catalogs = await helm.policies.readCatalogs(this.pack, this.found(2));
    }

    // V3
    async readRegistry() {
      this.registry = await helm.registry.replay(this.source, this.pack.places.get("trust.jsonl"), this.genesis, this.found(3));
      if (!this.registry) this.findings.axes.leaveOpen("signers", "integrity");
      else if (this.genesis === null) this.add(3, null, "UNANCHORED", "no genesis is pinned");
    }

    // V2 and V12: policies, catalogues and attachments are exactly those that are named. Behind what nobody can read
    // nobody knows the names.
    async comparePack() {
      const { whole, named } = this.reading;
      await this.pack.attachments.check(this.manifest.withheld, whole, this.found(12), this.progressOf("attachments"));
      if (!whole) return;
      for (const policy of this.policies.values()) if (policy.catalog) named.catalogs.idOf(helm.log.bytesOf(policy.catalog));
      this.compareNamed("policy", named.policies, this.policies);
      this.compareNamed("catalogue", named.catalogs, this.catalogs);
    }

    compareNamed(what, named, here) {
      for (const one of here.keys()) {
        if (named.find(helm.log.bytesOf(one)) < 0) this.add(2, null, "MANIFEST_MISMATCH", `${what} \`${one}\` is here, and nothing names it`);
      }
      for (let number = 0; number < named.size; number++) {
        const one = "sha256:" + helm.bytes.hex(named.rows.at(number));
        if (!here.has(one)) this.add(2, null, "MANIFEST_MISMATCH", `${what} \`${one}\` is named, and not here`);
      }
    }

    // V6 and V8: the pack's checkpoint, or null: one that is none, is of another log or was signed by nobody of this one
    // whose key still counts says nothing about the receipts.
    async readCheckpoint() {
      const { registry, manifest, notes } = this;
      const { checkpoint, seen } = notes;
      if (!checkpoint) return null;
      const { origin, size } = checkpoint;
      if (origin !== manifest.log) return this.add(6, null, "DOMAIN_MISMATCH", `the checkpoint is of the log \`${origin}\`, the manifest of \`${manifest.log}\``), null;
      if (!registry) return checkpoint; // nobody can say who signed it
      if (!origin.startsWith(registry.deployment + "/")) this.add(6, null, "DOMAIN_MISMATCH", `the log \`${origin}\` is not of the deployment \`${registry.deployment}\``);
      const trustSize = this.reliance.largestUnder(size);
      const verified = await this.findings.attempted(8, "checkpoint", async () => (await helm.checkpoint.verify(checkpoint, registry, trustSize, seen.since), true));
      return verified ? checkpoint : null;
    }

    // V8
    async checkTree() {
      const { tree } = this.log;
      const checkpoint = await this.readCheckpoint();
      if (checkpoint) {
        const { size, root } = checkpoint;
        if (size !== this.manifest.size || "sha256:" + helm.bytes.hex(root) !== this.manifest.root) this.add(2, null, "MANIFEST_MISMATCH", "the manifest has another size or root than the checkpoint");
        if (this.isPart) this.checkPart(checkpoint);
        else {
          if (tree.size < size) this.add(8, null, "TRUNCATED", `the checkpoint signs ${size} receipts, and ${tree.size} are here`);
          const same = tree.size === size && helm.bytes.equal(tree.rootAt(size), root);
          if (!same) this.add(8, null, "INCLUSION_FAIL", `the ${tree.size} receipts have another root than the checkpoint`);
        }
      }
      await this.notes.checkCosigned(tree);
    }

    // V8 of a part: its proof leads to the checkpoint's root. A proof without its form (V2) leads nowhere.
    checkPart({ size, root }) {
      const { log } = this;
      const { part } = this.reading;
      if (part === null) return;
      this.findings.attempt(8, "pack", () => {
        const computed = part.rootOf(size, log.leaves.rows);
        if (!helm.bytes.equal(computed, root)) throw new Fault("INCLUSION_FAIL", "the proof leads to another root than the checkpoint's");
      });
    }

    // What a known head is compared with (V14): {size, rootAt}. Of a part one root is known, which the manifest repeats.
    here() {
      const { log, manifest } = this;
      if (!this.isPart) return { size: log.size, rootAt: (size) => log.tree.rootAt(size) };
      return { size: manifest.size, rootAt: (size) => (size === manifest.size ? helm.log.bytesOf(manifest.root) : null) };
    }

    // V14
    async checkKnownHead(bytes) {
      const found = (code, detail, options) => this.findings.add(14, "known head", code, detail, options);
      if (await helm.head.compare(bytes, this, found)) this.findings.axes.holds("freshness");
    }

    // V17
    checkAge() {
      if (this.maxAgeS === null) return;
      const fault = helm.age.faultOf(this, this.reading.lastAt);
      if (fault) this.add(17, null, "STALE", fault);
      else this.findings.axes.holds("freshness");
    }

    progressOf(what) {
      return (done, all) => this.progress(what, done, all);
    }

    report() {
      const { log, size, root } = this.manifest ?? { log: null, size: null, root: null };
      const witnessed = this.notes?.seen.since ?? null;
      if (this.isPart) this.findings.axes.leaveOpen("completeness");
      return helm.report.make(this.findings, { log, size, root, receipts: this.log?.size ?? 0, sessions: this.reading?.sessions ?? 0, part: this.isPart, witnessed });
    }
  }

  return { Checklist };
})();

helm.verify = async (pack, asked) => new helm.checklist.Checklist(asked).run(pack);

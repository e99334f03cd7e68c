// The checklist of verification.md, V1 to V15, in its order. A step that fails is a finding, and the next one is made
// all the same as far as there is something to look at. Keys, pins and heads come from the one who asks, never from the
// pack that they judge.
//
//     helm.verify(packBytes, {genesis, knownHead, requireResolved}) -> Promise of a report
//
// `genesis` is the pinned digest or null, `knownHead` the bytes of a checkpoint or null.
helm.checklist = (() => {
  "use strict";
  const { Fault, Findings } = helm.findings;
  const ABREAST = 64; // receipts whose signatures are asked about at once
  const LINE_BYTES_LEAST = 256; // no receipt is shorter: who writes millions of shorter lines wants our memory
  const LINES_LEAST = 4096;

  class Checklist {
    constructor({ genesis = null, knownHead = null, requireResolved = false, progress = () => {} } = {}) {
      if (genesis !== null && !helm.forms.DIGEST.test(genesis)) throw new Error("a genesis is `sha256:` and 64 lowercase hex digits");
      Object.assign(this, { genesis, knownHead, requireResolved, progress });
      this.findings = new Findings();
      this.registry = null;
      this.entries = null;
      this.manifest = null;
      this.receipts = []; // [{index, leaf, receipt}], receipt null where nobody can read it
      this.whole = true; // every receipt can be read
      this.sessions = 0; // as far as every receipt can be read
    }

    found(step, where = "pack") {
      return (fault) => this.findings.add(step, where, fault.code, fault.message);
    }

    add(step, index, code, detail) {
      this.findings.add(step, index === null ? "pack" : "receipt " + index, code, detail);
    }

    async run(pack) {
      this.findings.attempt(1, "pack", () => (this.entries = helm.pack.read(pack))); // V1
      if (this.entries) this.findings.attempt(2, "pack", () => this.readPack()); // V2
      if (!this.manifest) {
        this.findings.axes.leaveOpen("signers", "completeness");
        return helm.report.make(this.findings, { log: null, size: null, root: null, receipts: 0, sessions: 0 });
      }
      this.compareFiles();
      await this.readRegistry();
      await this.readReceipts();
      await this.checkTree();
      this.checkStory();
      this.comparePack();
      this.checkTrust();
      await this.checkKnownHead();
      return this.report();
    }

    // V2: without manifest and whole lines there is nothing to look at.
    readPack() {
      const manifest = helm.pack.readManifest(this.entries.get("manifest.json"));
      const file = this.entries.get("receipts.jsonl");
      if (file.length && file.at(-1) !== 10) helm.forms.malformed("the receipts do not end with a newline");
      this.manifest = manifest;
    }

    // V2, as far as it needs no receipt.
    compareFiles() {
      const { entries } = this;
      helm.pack.compareFiles(this.manifest, entries, this.found(2));
      this.policies = helm.pack.readPolicies(entries, this.found(2));
      this.catalogs = helm.pack.readCatalogs(entries, this.found(2));
    }

    // V3
    async readRegistry() {
      this.registry = await helm.registry.replay(this.entries.get("trust.jsonl"), this.genesis, this.found(3));
      if (!this.registry) this.findings.axes.leaveOpen("signers", "integrity");
      else if (this.genesis === null) this.add(3, null, "UNANCHORED", "no genesis is pinned");
    }

    // V4 and V5, and of V11 what is about signatures: all that needs a receipt's bytes, which are not kept.
    async readReceipts() {
      const file = this.entries.get("receipts.jsonl");
      const linesMax = LINES_LEAST + Math.floor(file.length / LINE_BYTES_LEAST);
      const lines = helm.pack.linesOf(file, linesMax);
      if (lines.cut) {
        this.whole = false;
        this.add(4, null, "PACK_MALFORMED", `more than ${linesMax} lines in ${file.length} bytes are no receipts: the others are not read`);
      }
      this.tree = new helm.merkle.Tree();
      this.indexOf = new Map();
      for (let from = 0; from < lines.length; from += ABREAST) {
        const some = lines.slice(from, from + ABREAST).map((line, at) => this.readReceipt(from + at, line));
        const faults = await Promise.all(some.map(({ receipt }) => this.checkSigners(receipt)));
        faults.forEach((list, at) => list.forEach(([step, fault]) => this.findings.caught(step, "receipt " + (from + at), fault)));
        for (const { receipt } of some) if (receipt) receipt.record = null;
        this.progress(from + some.length, lines.length);
        await new Promise((resolve) => setTimeout(resolve)); // let a page breathe
      }
    }

    readReceipt(index, line) {
      const hash = helm.merkle.leafHash(line);
      const leaf = "sha256:" + helm.bytes.hex(hash);
      this.tree.append(hash);
      if (!this.indexOf.has(leaf)) this.indexOf.set(leaf, index);
      const receipt = this.findings.attempt(4, "receipt " + index, () => helm.receipt.read(line));
      if (!receipt) this.whole = false;
      this.receipts.push({ index, leaf, receipt });
      return { receipt };
    }

    // [[step, fault], …]: they are asked abreast, and told in the order of the log.
    async checkSigners(receipt) {
      if (!receipt) return [];
      const faults = [];
      const asked = (step, work) => work.catch((fault) => faults.push([step, fault]));
      if (this.registry) await asked(5, helm.signers.ofReceipt(receipt, this.registry));
      if (receipt.log !== this.manifest.log) faults.push([6, new Fault("DOMAIN_MISMATCH", `it is of the log \`${receipt.log}\``)]); // V6
      if (receipt.shape === "statement") await asked(11, helm.signers.ofStatement(receipt, this.registry));
      return faults;
    }

    inOrder() {
      return this.receipts.map(({ receipt }) => receipt);
    }

    readable() {
      return this.inOrder().filter((receipt) => receipt);
    }

    // V2 and V12: policies, catalogues and attachments are exactly those that are named. Behind what nobody can read
    // nobody knows the names.
    comparePack() {
      this.attachments = helm.attachments.of(this.entries);
      helm.attachments.check(this.attachments, this.readable(), this.manifest.withheld, this.whole, this.found(12));
      if (!this.whole) return;
      const policies = new Set();
      const catalogs = new Set();
      for (const { policy, catalog, statement } of this.readable()) {
        for (const one of [policy, statement?.policy?.to]) if (one) policies.add(one);
        for (const one of [catalog, statement?.catalog?.to]) if (one) catalogs.add(one);
      }
      for (const policy of this.policies.values()) if (policy.catalog) catalogs.add(policy.catalog);
      const compare = (what, named, here) => {
        for (const one of named) if (!here.has(one)) this.add(2, null, "MANIFEST_MISMATCH", `${what} \`${one}\` is named, and not here`);
        for (const one of here.keys()) if (!named.has(one)) this.add(2, null, "MANIFEST_MISMATCH", `${what} \`${one}\` is here, and nothing names it`);
      };
      compare("policy", policies, this.policies);
      compare("catalogue", catalogs, this.catalogs);
    }

    // V6 and V8: the pack's checkpoint, or null: one that is none, is of another log or was signed by nobody of this one
    // whose key still counts says nothing about the receipts.
    async readCheckpoint() {
      const { registry, manifest } = this;
      const checkpoint = this.findings.attempt(8, "checkpoint", () => helm.checkpoint.read(this.entries.get("checkpoint.txt")));
      if (!checkpoint) return null;
      const { origin } = checkpoint;
      if (origin !== manifest.log) return this.add(6, null, "DOMAIN_MISMATCH", `the checkpoint is of the log \`${origin}\`, the manifest of \`${manifest.log}\``), null;
      if (!registry) return checkpoint; // nobody can say who signed it
      if (!origin.startsWith(registry.deployment + "/")) this.add(6, null, "DOMAIN_MISMATCH", `the log \`${origin}\` is not of the deployment \`${registry.deployment}\``);
      const verified = await this.findings.attempted(8, "checkpoint", async () => (await helm.checkpoint.verify(checkpoint, registry, this.inOrder()), true));
      return verified ? checkpoint : null;
    }

    // V8
    async checkTree() {
      const { tree, manifest } = this;
      const checkpoint = await this.readCheckpoint();
      if (checkpoint) {
        const { size, root } = checkpoint;
        if (size !== manifest.size || "sha256:" + helm.bytes.hex(root) !== manifest.root) this.add(2, null, "MANIFEST_MISMATCH", "the manifest has another size or root than the checkpoint");
        if (tree.size < size) this.add(8, null, "TRUNCATED", `the checkpoint signs ${size} receipts, and ${tree.size} are here`);
        const same = tree.size === size && helm.bytes.equal(tree.rootAt(size), root);
        if (!same) this.add(8, null, "INCLUSION_FAIL", `the ${tree.size} receipts have another root than the checkpoint`);
      }
      for (const { index, receipt } of this.receipts) {
        if (receipt?.shape !== "recovery") continue;
        const { size, root } = receipt;
        if (size > index || root !== "sha256:" + helm.bytes.hex(tree.rootAt(size))) this.add(8, index, "INCLUSION_FAIL", `a recovery states a root that the log did not have at size ${size}`);
      }
    }

    // V7, V9, V10, V11 and V15, in one walk, which ends at the first receipt that nobody can read.
    checkStory() {
      const chain = new helm.chain.Chain(this.indexOf);
      const processes = new helm.processes.Processes();
      const story = new helm.flows.Story(new helm.force.Force(this.policies));
      for (const { index, leaf, receipt } of this.receipts) {
        if (!receipt) break;
        const broken = chain.follow(index, leaf, receipt);
        if (broken) this.add(7, index, ...broken);
        this.checkCauses(index, receipt);
        const misplaced = processes.receive(leaf, receipt);
        if (misplaced) this.add(10, index, "FLOW_INVALID", misplaced);
        const fault = story.receive(index, leaf, receipt);
        if (fault) this.add(receipt.shape === "statement" ? 11 : 10, index, ...fault);
      }
      this.sessions = chain.heads.size;
      if (!this.whole) return this.findings.axes.leaveOpen("completeness");
      for (const index of story.unresolved(this.requireResolved)) this.add(15, index, "OPEN_INTENT", "a call has no outcome that is known");
    }

    // V9: the first cause that is not where it has to be.
    checkCauses(index, receipt) {
      for (const leaf of helm.receipt.causesOf(receipt)) {
        const at = this.indexOf.get(leaf);
        if (at === undefined) return this.add(9, index, "DAG_DANGLING", `its cause \`${leaf}\` is not in this log`);
        if (at === index) return this.add(9, index, "DAG_CYCLE", "it is its own cause");
        if (at > index) return this.add(9, index, "CHAIN_ORDER", `its cause \`${leaf}\` stands behind it`);
      }
    }

    // V13
    checkTrust() {
      let largest = 0;
      for (const { index, receipt } of this.receipts) {
        if (!receipt) continue;
        const { size, head } = receipt.trust;
        const before = largest;
        largest = Math.max(largest, size);
        if (size < before) this.add(13, index, "ROLLBACK", `it relies on ${size} events, and one before it on ${before}`);
        else if (!this.registry) continue;
        else if (size > this.registry.size) this.add(13, index, "ROLLBACK", `it relies on ${size} events, and ${this.registry.size} are here`);
        else if (head !== this.registry.headAt(size)) this.add(13, index, "REGISTRY_INVALID", `it relies on another head at size ${size}`);
      }
    }

    // V14
    async checkKnownHead() {
      if (this.knownHead === null) return;
      const found = (code, detail, exit) => this.findings.add(14, "known head", code, detail, exit);
      const fresh = await helm.head.compare(this.knownHead, this.manifest.log, this.registry, this, found);
      if (fresh) this.findings.axes.all.freshness = "ok";
    }

    report() {
      const { log, size, root } = this.manifest;
      return helm.report.make(this.findings, { log, size, root, receipts: this.receipts.length, sessions: this.sessions });
    }
  }

  return { Checklist };
})();

helm.verify = (pack, asked) => new helm.checklist.Checklist(asked).run(pack);

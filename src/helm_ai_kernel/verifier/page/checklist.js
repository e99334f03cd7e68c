// The checklist of verification.md, V1 to V15, in its order. A step that fails is a finding, and the next one is made
// all the same as far as there is something to look at. Keys, pins and heads come from the one who asks, never from the
// pack that they judge.
//
//     helm.verify(packBytes, {genesis, knownHead, requireResolved}) -> Promise of a report
//
// `genesis` is the pinned digest or null, `knownHead` the bytes of a checkpoint or null.
helm.checklist = (() => {
  "use strict";
  const { Findings, caught } = helm.findings;
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
      this.checkpoint = null;
      this.receipts = []; // [{index, leaf, receipt}], receipt null where nobody can read it
      this.whole = true; // every receipt can be read
      this.fresh = false; // there was a known head, and it was compared
    }

    found(step, where = "pack") {
      return (fault) => this.findings.add(step, where, fault.code, fault.message);
    }

    add(step, index, code, detail) {
      this.findings.add(step, index === null ? "pack" : "receipt " + index, code, detail);
    }

    async run(pack) {
      this.entries = this.findings.attempt(1, "pack", () => helm.pack.read(pack)); // V1
      if (!this.entries) {
        if (this.genesis === null) this.add(3, null, "UNANCHORED", "no genesis is pinned");
        return this.report();
      }
      this.readPack();
      await this.readRegistry();
      await this.readReceipts();
      this.comparePack();
      this.checkLogs();
      await this.checkTree();
      this.checkStory();
      this.checkAttachments();
      this.checkTrust();
      await this.checkKnownHead();
      return this.report();
    }

    // V2, as far as it needs no receipt.
    readPack() {
      const { entries } = this;
      this.manifest = helm.pack.readManifest(entries.get("manifest.json"), this.found(2));
      this.checkpoint = this.findings.attempt(8, "pack", () => helm.checkpoint.read(entries.get("checkpoint.txt")));
      if (this.manifest) helm.pack.compareFiles(this.manifest, entries, this.found(2));
      if (this.manifest && this.checkpoint) {
        const { size, root } = this.manifest;
        const signed = this.checkpoint;
        if (size !== signed.size || root !== "sha256:" + helm.bytes.hex(signed.root)) this.add(2, null, "MANIFEST_MISMATCH", "the manifest has another size or root than the checkpoint");
      }
      const file = entries.get("receipts.jsonl");
      if (file.length && file.at(-1) !== 10) this.add(2, null, "PACK_MALFORMED", "the receipts do not end with a newline");
      this.policies = helm.pack.readPolicies(entries, this.found(2));
      this.catalogs = helm.pack.readCatalogs(entries, this.found(2));
    }

    // V3
    async readRegistry() {
      this.registry = await helm.registry.replay(this.entries.get("trust.jsonl"), this.genesis, this.found(3));
      if (this.genesis === null) this.add(3, null, "UNANCHORED", "no genesis is pinned");
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
        faults.forEach((list, at) => list.forEach(([step, code, detail]) => this.add(step, from + at, code, detail)));
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

    async checkSigners(receipt) {
      if (!receipt || !this.registry) return [];
      const faults = await helm.signers.ofReceipt(receipt, this.registry);
      return receipt.shape === "statement" ? [...faults, ...(await helm.signers.ofStatement(receipt, this.registry))] : faults;
    }

    readable() {
      return this.receipts.filter(({ receipt }) => receipt).map(({ receipt }) => receipt);
    }

    // V2: policies and catalogues are exactly those that are named. Behind what nobody can read nobody knows the names.
    comparePack() {
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

    // V6
    checkLogs() {
      this.log = this.checkpoint?.origin ?? this.manifest?.log ?? this.readable()[0]?.log ?? null;
      const deployment = this.registry && this.registry.deployment + "/";
      const check = (index, log) => {
        if (log !== this.log) this.add(6, index, "DOMAIN_MISMATCH", `the log is \`${log}\`, that of the checkpoint \`${this.log}\``);
        else if (deployment && !log.startsWith(deployment)) this.add(6, index, "DOMAIN_MISMATCH", `the log \`${log}\` is not of the deployment \`${this.registry.deployment}\``);
      };
      if (this.checkpoint) check(null, this.checkpoint.origin);
      if (this.manifest) check(null, this.manifest.log);
      for (const { index, receipt } of this.receipts) if (receipt) check(index, receipt.log);
    }

    // V8
    async checkTree() {
      const { checkpoint, tree, registry } = this;
      if (checkpoint) {
        if (registry) await helm.checkpoint.verify(checkpoint, registry, this.manifest?.log).catch(caught(this.found(8)));
        if (tree.size < checkpoint.size) this.add(8, null, "TRUNCATED", `the checkpoint signs ${checkpoint.size} receipts, and ${tree.size} are here`);
        const same = tree.size === checkpoint.size && helm.bytes.equal(tree.rootAt(tree.size), checkpoint.root);
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
      const force = new helm.force.Force(this.policies);
      const story = new helm.flows.Story(force);
      let ended = false;
      for (const { index, leaf, receipt } of this.receipts) {
        ended ||= !receipt;
        if (ended) {
          if (receipt?.shape === "statement") this.checkNonce(index, receipt, force);
          continue;
        }
        const broken = chain.follow(index, leaf, receipt);
        if (broken) this.add(7, index, ...broken);
        this.checkCauses(index, receipt);
        if (broken?.[0] === "DUPLICATE") continue; // the same receipt tells nothing twice
        for (const fault of story.receive(index, leaf, receipt)) this.add(10, index, ...fault);
        if (receipt.shape === "statement") this.changeForce(index, receipt, force);
      }
      this.story = story;
      if (!this.whole) return;
      for (const { index } of story.unresolved(this.requireResolved)) this.add(15, index, "OPEN_INTENT", "a call has no outcome that is known");
    }

    // V9
    checkCauses(index, receipt) {
      for (const leaf of new Set(helm.receipt.causesOf(receipt))) {
        const at = this.indexOf.get(leaf);
        if (at === undefined) this.add(9, index, "DAG_DANGLING", `its cause \`${leaf}\` is not in this log`);
        else if (at === index) this.add(9, index, "DAG_CYCLE", "it is its own cause");
        else if (at > index) this.add(9, index, "CHAIN_ORDER", `its cause \`${leaf}\` stands behind it`);
      }
    }

    checkNonce(index, { statement }, force) {
      const fresh = force.takeNonce(statement.nonce);
      if (!fresh) this.add(11, index, "APPROVAL_REUSED", `the nonce \`${statement.nonce}\` was used before`);
      return fresh;
    }

    changeForce(index, receipt, force) {
      const fresh = this.checkNonce(index, receipt, force);
      const refused = force.apply(receipt.statement);
      if (refused && fresh) this.add(11, index, "APPROVAL_INVALID", refused);
    }

    // V12
    checkAttachments() {
      this.attachments = helm.attachments.of(this.entries);
      helm.attachments.check(this.attachments, this.readable(), this.manifest?.withheld ?? null, this.whole, this.found(12));
    }

    // V13
    checkTrust() {
      let largest = 0;
      for (const { index, receipt } of this.receipts) {
        if (!receipt) continue;
        const { size, head } = receipt.trust;
        if (size < largest) this.add(13, index, "ROLLBACK", `it relies on ${size} events, and one before it on ${largest}`);
        largest = Math.max(largest, size);
        if (!this.registry) continue;
        if (size > this.registry.size) this.add(13, index, "ROLLBACK", `it relies on ${size} events, and ${this.registry.size} are here`);
        else if (head !== this.registry.headAt(size)) this.add(13, index, "REGISTRY_INVALID", `it relies on another head at size ${size}`);
      }
    }

    // V14
    async checkKnownHead() {
      if (this.knownHead === null || !this.registry) return;
      const found = (code, detail, exit) => this.findings.add(14, "known head", code, detail, exit);
      this.fresh = await helm.head.compare(this.knownHead, this.log, this.registry, this.tree, found);
    }

    report() {
      const readable = this.readable();
      return helm.report.make(this.findings, {
        registry: this.registry,
        pinned: this.genesis !== null,
        unreadable: !this.whole || !this.entries,
        fresh: this.fresh,
        log: this.log ?? null,
        size: this.checkpoint?.size ?? null,
        root: this.checkpoint ? "sha256:" + helm.bytes.hex(this.checkpoint.root) : null,
        receipts: this.receipts.length,
        sessions: new Set(readable.map(({ session }) => session)).size,
      });
    }
  }

  return { Checklist };
})();

helm.verify = (pack, asked) => new helm.checklist.Checklist(asked).run(pack);

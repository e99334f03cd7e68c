// The receipts, read a second time, piece by piece, and never kept: all that is asked of one (V4 to V7, V9 to V13, V15).
// The first time was for their leaves (log.js): a cause that is missing is told from one that comes later (V9) only by who
// knows all of them. Signatures are asked about while the next lines are read.
helm.reading = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const ABREAST = 256; // receipts whose signatures are asked about at once

  class Reading {
    constructor(checklist) {
      const { source, pack, log, policies, isPart } = checklist;
      Object.assign(this, { checklist, source, log, isPart, policies, findings: checklist.findings, attachments: pack.attachments });
      this.place = pack.places.get("receipts.jsonl");
      this.part = null;
      this.whole = true; // every receipt can be read
      this.lastAt = null; // what the last receipt says, if it can be read
      this.named = { policies: new helm.table.Table(32), catalogs: new helm.table.Table(32) };
    }

    async run() {
      if (this.isPart) await this.readPart();
      this.begin();
      await this.readReceipts();
      this.end();
    }

    get sessions() {
      return this.chain?.sessions ?? 0;
    }

    // V2
    async readPart() {
      const { pack, manifest } = this.checklist;
      this.part = await this.findings.attempted(2, "proof", async () => {
        const bytes = await pack.bytes(helm.pack.PROOF, helm.part.BYTES_MAX);
        return helm.part.read(bytes, manifest.size, this.log.size);
      });
      if (this.part) this.log.part = this.part;
    }

    begin() {
      const { log } = this;
      this.chain = new helm.chain.Chain(this.isPart);
      this.force = new helm.force.Force(log, this.policies, this.checklist.registry);
      this.processes = this.isPart ? null : new helm.processes.Processes(log);
      this.story = new (this.isPart ? helm.partly : helm.flows).Story(log, this.force, this.attachments);
      this.finder = new helm.finder.Finder(log);
      this.told = true; // no receipt came that nobody can read: behind one there is no story to judge
    }

    async readReceipts() {
      const { log, source, place } = this;
      let index = 0;
      let asked = Promise.resolve();
      for await (const lines of helm.lines.lists(source, place)) {
        for (let from = 0; from < lines.length; from += ABREAST) {
          const some = lines.slice(from, from + ABREAST).map((line, at) => this.readReceipt(index + at, line));
          index += some.length;
          await asked; // of those before: findings come in the order of the log
          asked = this.tell(some);
          await this.checklist.progress("receipts", index, log.size);
        }
      }
      await asked;
      if (index !== log.size) helm.source.changed();
    }

    // What its signers are asked, under way: [[place, step, fault], …].
    readReceipt(index, { bytes }) {
      if (!this.log.isLine(index, bytes)) helm.source.changed(); // what is judged is what is in the tree
      const place = this.log.part.placeOf(index);
      const receipt = this.findings.attempt(4, "receipt " + place, () => helm.receipt.read(bytes));
      this.lastAt = receipt?.at ?? null;
      if (!receipt) {
        this.whole = this.told = false;
        this.finder.receive(index, null, null);
        return [];
      }
      const spot = this.log.spot(index, receipt);
      this.judge(spot, receipt);
      this.finder.receive(index, spot, receipt);
      return this.checkSigners(place, receipt, this.checklist.notes.seenAt(place));
    }

    async tell(some) {
      for (const faults of await Promise.all(some)) {
        for (const [place, step, fault] of faults) this.findings.caught(step, "receipt " + place, fault);
      }
    }

    // V5, V6, and of V11 what is about signatures.
    async checkSigners(place, receipt, seen) {
      const { registry, manifest } = this.checklist;
      const faults = [];
      const asked = (step, work) => work.catch((fault) => faults.push([place, step, fault]));
      if (registry) await asked(5, helm.signers.ofReceipt(receipt, registry, seen));
      if (receipt.log !== manifest.log) faults.push([place, 6, new Fault("DOMAIN_MISMATCH", `it is of the log \`${receipt.log}\``)]);
      if (receipt.shape === "statement") await asked(11, helm.signers.ofStatement(receipt, registry, seen));
      if (receipt.shape === "recovery") await asked(8, this.checkRecovery(place, receipt));
      return faults;
    }

    // All that is asked of a receipt among the others.
    judge(spot, receipt) {
      const { place } = spot;
      const add = (step, fault) => fault && this.checklist.add(step, place, ...fault);
      this.attachments.name(receipt);
      this.namePolicies(receipt);
      add(13, this.checklist.reliance.receive(place, receipt.trust));
      if (!this.told) return;
      add(7, this.chain.follow(spot, receipt));
      add(9, this.causesFault(spot.index, receipt));
      const misplaced = this.processes?.receive(spot, receipt);
      add(10, misplaced && ["FLOW_INVALID", misplaced]);
      add(receipt.shape === "statement" ? 11 : 10, this.story.receive(spot, receipt));
    }

    namePolicies({ policy, catalog, statement }) {
      const { policies, catalogs } = this.named;
      for (const one of [policy, statement?.policy?.to]) if (one) policies.idOf(helm.log.bytesOf(one));
      for (const one of [catalog, statement?.catalog?.to]) if (one) catalogs.idOf(helm.log.bytesOf(one));
    }

    // V9: the first cause that is not where it has to be.
    causesFault(index, receipt) {
      for (const leaf of helm.receipt.causesOf(receipt).keys()) {
        const at = this.log.find(leaf);
        if (at < 0 && !this.isPart) return ["DAG_DANGLING", `its cause \`${leaf}\` is not in this log`];
        if (at === index) return ["DAG_CYCLE", "it is its own cause"];
        if (at > index) return ["CHAIN_ORDER", `its cause \`${leaf}\` stands behind it`];
      }
      return null;
    }

    // V8
    async checkRecovery(place, { heads, size, root }) {
      const { manifest, registry } = this.checklist;
      await helm.notes.checkHeads(heads ?? [], manifest.log, registry);
      const isPast = size <= place || (this.isPart && this.part === null); // without its proof no place is known
      const stated = isPast && (this.isPart || root === "sha256:" + helm.bytes.hex(this.log.tree.rootAt(size)));
      if (!stated) throw new Fault("INCLUSION_FAIL", `a recovery states a root that the log did not have at size ${size}`);
    }

    end() {
      if (!this.whole) return this.findings.axes.leaveOpen("completeness");
      for (const place of this.story.unresolved(this.checklist.requireResolved)) this.checklist.add(15, place, "OPEN_INTENT", "a call has no outcome that is known"); // V15
    }
  }

  return { Reading };
})();

// V10 and V11 of a part of a log (verification.md, In a part): what is not here cannot be judged. What is left of the
// story is that no call ends twice, and that no statement was used twice.
helm.partly = (() => {
  "use strict";
  const { Column } = helm.column;
  const OTHER = 1;
  const UNKNOWN = 2;
  const LATE_BEHIND = 3; // an UNKNOWN, and what came later

  class Story {
    constructor(log, force) {
      Object.assign(this, { log, force });
      this.intents = new Column(Int32Array); // leaf -> its place + 1
      this.outcomes = new Column(Uint8Array); // leaf -> what became of it, here
      this.early = []; // outcomes that stand before their decision: [place, its leaf]
    }

    // Null, or [code, detail].
    receive(spot, receipt) {
      if (receipt.shape === "statement") return this.force.isReused(receipt.statement) ?? (this.note(spot.place, receipt.statement), null);
      if (helm.receipt.isIntent(receipt)) this.intents.set(spot.id, spot.place + 1);
      return receipt.shape === "outcome" ? this.outcome(spot, receipt) : null;
    }

    // For who reads the story: nothing is asked of it.
    note(place, statement) {
      if (statement.kind === "erasure") this.force.erase(place, statement);
    }

    outcome({ index, place }, { decision, status }) {
      const id = this.log.find(decision);
      if (id < 0) return null;
      if (id < index && !this.intents.get(id)) return ["ORPHAN_OUTCOME", "an outcome names what is no intent"];
      if (id >= index) this.early.push([place, id]);
      const before = this.outcomes.get(id);
      if (before && !(before === UNKNOWN && status === "LATE")) return ["DOUBLE_OUTCOME", "a call ends twice"];
      this.outcomes.set(id, before ? LATE_BEHIND : status === "UNKNOWN" ? UNKNOWN : OTHER);
      return null;
    }

    // When all is read: where the outcomes stand whose decision came later, and was no intent.
    orphans() {
      return this.early.filter(([, id]) => !this.intents.get(id)).map(([place]) => place);
    }

    // V15, of the intents that are here.
    *unresolved(requireResolved) {
      for (let id = 0; id < this.log.size; id++) {
        const outcome = this.outcomes.get(id);
        if (this.intents.get(id) && (!outcome || (requireResolved && outcome === UNKNOWN))) yield this.intents.get(id) - 1;
      }
    }
  }

  return { Story };
})();

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
      this.open = new Column(Uint8Array); // leaf -> 1: an intent, and no outcome behind it
      this.intents = new Column(Float64Array); // leaf -> its place + 1; an offer, too
      this.outcomes = new Column(Uint8Array); // leaf -> what became of it, here
      this.strange = new Column(Uint8Array); // the same of decisions that are not here
    }

    // Null, or [code, detail].
    receive(spot, receipt) {
      if (receipt.shape === "statement") return this.statement(spot.place, receipt.statement);
      if (helm.receipt.goes(receipt)) this.intents.set(spot.id, spot.place + 1);
      if (helm.receipt.isIntent(receipt)) this.open.set(spot.id, 1);
      return receipt.shape === "outcome" ? this.outcome(spot.index, receipt) : null;
    }

    // What is erased is kept for who reads the story: nothing is asked of it.
    statement(place, statement) {
      if (statement.kind === "erasure") this.force.erase(place, statement);
      return this.force.isReused(statement);
    }

    outcome(index, { decision, status }) {
      const id = this.log.idOf(decision);
      if (id >= 0 && id < index && !this.intents.get(id)) return ["ORPHAN_OUTCOME", "an outcome names what is no intent and no offer"];
      const [outcomes, at] = id >= 0 ? [this.outcomes, id] : [this.strange, -1 - id];
      const before = outcomes.get(at);
      if (before && !(before === UNKNOWN && status === "LATE")) return ["DOUBLE_OUTCOME", "a call ends twice"];
      if (id >= 0 && id < index) this.open.set(id, 0);
      outcomes.set(at, before ? LATE_BEHIND : status === "UNKNOWN" ? UNKNOWN : OTHER);
      return null;
    }

    // V15, of the intents that are here.
    *unresolved(requireResolved) {
      for (let id = 0; id < this.log.size; id++) {
        const isUnknown = this.intents.get(id) && this.outcomes.get(id) === UNKNOWN;
        if (this.open.get(id) || (requireResolved && isUnknown)) yield this.intents.get(id) - 1;
      }
    }
  }

  return { Story };
})();

// Where the receipts of each session are, and what became of each call: for a page that shows some of a million and reads
// their lines again. Numbers only. Lines that nobody can read have a list of their own.
helm.finder = (() => {
  "use strict";
  const { Column } = helm.column;

  // Lines that are about an earlier one, each chain from its last line to its first.
  class Chains {
    constructor() {
      Object.assign(this, { lasts: new Column(Int32Array), before: new Column(Int32Array) }); // index + 1
    }

    put(id, index) {
      if (id < 0 || id >= index) return;
      this.before.set(index, this.lasts.get(id));
      this.lasts.set(id, index + 1);
    }

    // The last so many, in their order.
    of(id, many = Infinity) {
      const lines = [];
      for (let at = this.lasts.get(id); at && lines.length < many; at = this.before.get(at - 1)) lines.push(at - 1);
      return lines.reverse();
    }
  }

  class Finder {
    constructor(log) {
      this.log = log;
      // Lists of lines: 0 of what nobody can read, and session + 1.
      this.heads = new Column(Int32Array); // index + 1 of the first line
      this.tails = new Column(Int32Array);
      this.counts = new Column(Int32Array);
      this.next = new Column(Int32Array); // line -> index + 1 of the next one in its list
      this.order = new Column(Int32Array); // the lists as they begin
      this.lists = 0;
      this.outcomes = new Chains(); // of the leaf of an intent or an offer
      this.words = new Chains(); // of the leaf of a held call: what was said of it, and how it went on
      this.overrides = new Column(Int32Array); // lines of such statements, and of the calls that went by one
      this.overrideCount = 0;
    }

    receive(index, spot, receipt) {
      this.put(index, spot === null ? 0 : spot.session + 1);
      if (receipt === null) return;
      if (helm.receipt.goes(receipt)) this.log.intents.idOf(spot.id);
      const call = aboutOf(receipt);
      if (call !== undefined) this.words.put(this.log.find(call), index);
      if (receipt.statement?.kind === "override" || isByOverride(receipt)) this.overrides.set(this.overrideCount++, index);
      if (receipt.shape !== "outcome") return;
      const id = this.log.find(receipt.decision);
      if (this.log.intents.find(id) >= 0) this.outcomes.put(id, index);
    }

    put(index, list) {
      const count = this.counts.get(list);
      if (count) this.next.set(this.tails.get(list) - 1, index + 1);
      else {
        this.heads.set(list, index + 1);
        this.order.set(this.lists++, list);
      }
      this.tails.set(list, index + 1);
      this.counts.set(list, count + 1);
    }

    // Up to so many lines of a list, from one on.
    linesOf(list, many, from = this.heads.get(list) - 1) {
      const lines = [];
      for (let at = from + 1; at && lines.length < many; at = this.next.get(at - 1)) lines.push(at - 1);
      return lines;
    }

    // The list of a session's id; -1 where it is not here.
    listOf(session) {
      const number = this.log.sessions.find(helm.bytes.unhex(session));
      return number < 0 ? -1 : number + 1;
    }
  }

  // The held call that a receipt says something of, or ends: not that which waits for it only.
  function aboutOf({ shape, call, statement, facts, requires, reason }) {
    if (shape === "lapse") return call;
    if (shape === "statement") return statement.call;
    const isStep = shape === "decision" && (requires || ["OK", "ERR_APPROVAL_EXPIRED"].includes(reason));
    return isStep ? facts.approval?.call : undefined;
  }

  // A call that a grant let go.
  function isByGrant({ relies, facts }) {
    return relies !== undefined && facts.grant !== undefined && relies[0] === facts.grant.statement;
  }

  // A call that went because of an override.
  function isByOverride(receipt) {
    return helm.receipt.goes(receipt) && receipt.facts.approval?.state === "overridden" && !isByGrant(receipt);
  }

  return { Finder, isByGrant, isByOverride };
})();

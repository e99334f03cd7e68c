// Where the receipts of each session are, and what became of each call: for a page that shows some of a million and reads
// their lines again. Numbers only. Lines that nobody can read have a list of their own.
helm.finder = (() => {
  "use strict";
  const { Column } = helm.column;

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
      this.outcomes = new Column(Int32Array); // leaf of an intent, or line of an outcome -> index + 1 of the outcome (before)
    }

    receive(index, spot, receipt) {
      this.put(index, spot === null ? 0 : spot.session + 1);
      if (receipt === null) return;
      if (helm.receipt.isIntent(receipt)) this.log.intents.idOf(spot.id);
      if (receipt.shape !== "outcome") return;
      const id = this.log.find(receipt.decision);
      if (id >= index || this.log.intents.find(id) < 0) return;
      this.outcomes.set(index, this.outcomes.get(id));
      this.outcomes.set(id, index + 1);
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

    outcomesOf(id) {
      const lines = [];
      for (let at = this.outcomes.get(id); at; at = this.outcomes.get(at - 1)) lines.unshift(at - 1);
      return lines;
    }

    // The list of a session's id; -1 where it is not here.
    listOf(session) {
      const number = this.log.sessions.find(helm.bytes.unhex(session));
      return number < 0 ? -1 : number + 1;
    }
  }

  return { Finder };
})();

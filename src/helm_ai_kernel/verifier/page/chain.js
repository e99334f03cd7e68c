// V7: each session is a chain (verification.md, The chain). A receipt either follows, or the first of nine questions
// that is true names its fault. Behind a fault the session is followed as well as can be: each branch keeps its own
// tip, so that what goes on rightly behind a fork is not accused again.
helm.chain = (() => {
  "use strict";

  class Chain {
    // `indexOf`: leaf -> the first index at which it stands in the log.
    constructor(indexOf) {
      this.indexOf = indexOf;
      this.sessions = new Map();
    }

    // Null, or [code, detail].
    follow(index, leaf, receipt) {
      const { session } = receipt;
      if (this.indexOf.get(leaf) < index) return ["DUPLICATE", `the same line stands at ${this.indexOf.get(leaf)}`];
      let known = this.sessions.get(session);
      const fault = known ? this.next(index, receipt, known) : first(receipt);
      if (!known || fault === "SESSION_DUPLICATE") this.sessions.set(session, (known = { tips: new Map(), prevs: new Set(), last: null }));
      advance(known, leaf, receipt, fault);
      return fault && [fault, `receipt \`${leaf}\`, number ${receipt.seq} of session \`${session}\`, does not follow`];
    }

    next(index, receipt, known) {
      const { seq, prev } = receipt;
      const before = known.tips.get(prev) ?? known.last; // the one before it
      const fits = before.leaf === prev;
      if (fits && !before.ended && seq === before.seq + 1 && seq > 0 && !isStart(receipt) && counted(receipt)) return null;
      if (seq === 0) return "SESSION_DUPLICATE"; // 2
      if (known.prevs.has(prev)) return "CHAIN_FORK"; // 3
      if (this.indexOf.get(prev) > index) return "CHAIN_ORDER"; // 4
      if (before.ended) return "CHAIN_ORDER"; // 5
      if (fits && seq === before.seq) return "LAMPORT_EQUAL"; // 6
      if (fits && seq < before.seq) return "LAMPORT_REGRESSION";
      if (fits && seq > before.seq + 1) return "CHAIN_GAP";
      if (fits) return isStart(receipt) ? "CHAIN_ORDER" : "CHAIN_GAP"; // 7
      return seq <= before.seq ? "CHAIN_ORDER" : "CHAIN_GAP"; // 8, 9
    }
  }

  function isStart(receipt) {
    return receipt.shape === "start";
  }

  function counted(receipt) {
    return receipt.shape !== "end" || receipt.count === receipt.seq;
  }

  function first(receipt) {
    if (isStart(receipt) && receipt.seq === 0 && receipt.prev === receipt.trust.head) return null;
    if (!isStart(receipt) && receipt.seq === 0) return "CHAIN_ORDER"; // 8: it does not begin with a start
    return "CHAIN_GAP"; // 9
  }

  // A receipt that stands too late in the log, out of turn, is no tip: the next one follows what is already there.
  function advance(known, leaf, receipt, fault) {
    known.prevs.add(receipt.prev);
    const fitted = known.tips.delete(receipt.prev);
    const behind = known.last && receipt.seq <= known.last.seq && !fitted;
    const tip = { leaf, seq: receipt.seq, ended: receipt.shape === "end" };
    if (behind && fault !== "CHAIN_FORK") return;
    known.tips.set(leaf, tip);
    if (!behind) known.last = tip;
  }

  return { Chain };
})();

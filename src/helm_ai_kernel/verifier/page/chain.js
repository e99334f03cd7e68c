// V7: each session is a chain (verification.md, The chain). A receipt either follows, or the first of nine questions
// that is true names its fault. Behind a gap, or behind a receipt that came out of turn and counts further than any
// before it, the session goes on from that one; behind every other fault as if it were not there.
helm.chain = (() => {
  "use strict";

  class Chain {
    // `indexOf`: leaf -> the first index at which it stands in the log.
    constructor(indexOf) {
      this.indexOf = indexOf;
      this.heads = new Map(); // session -> {leaf, seq, prev, ended}: the receipt that the next one has to follow
      this.followed = new Set(); // what receipts beyond `seq` 0, from which a session went on, have as `prev`
    }

    // Null, or [code, detail].
    follow(index, leaf, receipt) {
      const head = this.heads.get(receipt.session);
      const fault = head ? next(head, leaf, receipt) : first(receipt);
      if (!fault) return this.goOn(leaf, receipt, receipt.shape === "end"), null;
      const code = this.sharpened(fault, index, leaf, receipt);
      if ((code === "CHAIN_GAP" || code === "CHAIN_ORDER") && (!head || receipt.seq > head.seq)) this.goOn(leaf, receipt, false);
      return [code, `receipt \`${leaf}\`, number ${receipt.seq} of session \`${receipt.session}\`, does not follow`];
    }

    goOn(leaf, { session, seq, prev }, ended) {
      this.heads.set(session, { leaf, seq, prev, ended });
      if (seq > 0) this.followed.add(prev);
    }

    // The same fault, with what the rest of the log says about it.
    sharpened(fault, index, leaf, { seq, prev }) {
      if (this.indexOf.get(leaf) < index) return "DUPLICATE"; // 1
      if ((fault !== "CHAIN_GAP" && fault !== "CHAIN_ORDER") || seq === 0) return fault;
      if (this.followed.has(prev)) return "CHAIN_FORK"; // 3
      return this.indexOf.get(prev) > index ? "CHAIN_ORDER" : fault; // 4
    }
  }

  function next(head, leaf, receipt) {
    const { seq, prev } = receipt;
    if (leaf === head.leaf) return "DUPLICATE"; // 1
    if (seq === 0) return "SESSION_DUPLICATE"; // 2
    if (head.ended) return "CHAIN_ORDER"; // 5
    if (prev === head.prev) return "CHAIN_FORK"; // 3
    if (prev !== head.leaf) return seq <= head.seq ? "CHAIN_ORDER" : "CHAIN_GAP"; // 8, 9
    if (seq === head.seq) return "LAMPORT_EQUAL"; // 6
    if (seq < head.seq) return "LAMPORT_REGRESSION";
    if (seq > head.seq + 1) return "CHAIN_GAP";
    if (receipt.shape === "start") return "CHAIN_ORDER"; // 7
    return receipt.shape === "end" && receipt.count !== seq ? "CHAIN_GAP" : null;
  }

  function first(receipt) {
    if (receipt.seq > 0) return "CHAIN_GAP"; // 9
    if (receipt.shape !== "start") return "CHAIN_ORDER"; // 8
    return receipt.prev === receipt.trust.head ? null : "CHAIN_GAP"; // 9
  }

  return { Chain };
})();

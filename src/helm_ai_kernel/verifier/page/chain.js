// V7: each session is a chain (verification.md, The chain). A receipt either follows, or the first of nine questions
// that is true names its fault. Behind a gap, or behind a receipt that came out of turn and counts further than any
// before it, the session goes on from that one; behind every other fault as if it were not there. In a part of a log it
// also goes on behind what is not here.
//
// A `spot` is where a receipt stands, in numbers (log.js).
helm.chain = (() => {
  "use strict";
  const { Column } = helm.column;

  class Chain {
    constructor(isPart) {
      this.isPart = isPart;
      // Of each session the receipt that the next one has to follow.
      this.known = new Column(Uint8Array);
      this.ids = new Column(Int32Array);
      this.seqs = new Column(Float64Array);
      this.prevs = new Column(Int32Array);
      this.ended = new Column(Uint8Array);
      this.sessions = 0;
      // What receipts beyond `seq` 0, from which a session went on, have as `prev`: leaves that are here, and others.
      this.followed = new Column(Uint8Array);
      this.followedStrangers = new Column(Uint8Array);
    }

    // Null, or [code, detail].
    follow(spot, receipt) {
      const head = this.headOf(spot.session);
      if (this.isPart && skips(head, spot, receipt)) return this.goOn(spot, receipt, receipt.shape === "end"), null;
      const fault = head ? next(head, spot, receipt) : first(receipt);
      if (!fault) return this.goOn(spot, receipt, receipt.shape === "end"), null;
      const code = this.sharpened(fault, spot, receipt.seq);
      if ((code === "CHAIN_GAP" || code === "CHAIN_ORDER") && (!head || receipt.seq > head.seq)) this.goOn(spot, receipt, false);
      return [code, `number ${receipt.seq} of session \`${receipt.session}\` does not follow`];
    }

    headOf(session) {
      if (!this.known.get(session)) return null;
      return { id: this.ids.get(session), seq: this.seqs.get(session), prev: this.prevs.get(session), ended: this.ended.get(session) === 1 };
    }

    goOn({ session, id, prev }, { seq }, ended) {
      if (!this.known.get(session)) this.sessions++;
      this.known.set(session, 1);
      this.ids.set(session, id);
      this.seqs.set(session, seq);
      this.prevs.set(session, prev);
      this.ended.set(session, ended ? 1 : 0);
      if (seq === 0) return;
      if (prev >= 0) this.followed.set(prev, 1);
      else this.followedStrangers.set(-1 - prev, 1);
    }

    wasFollowed(prev) {
      return (prev >= 0 ? this.followed.get(prev) : this.followedStrangers.get(-1 - prev)) === 1;
    }

    // The same fault, with what the rest of the log says about it.
    sharpened(fault, { index, id, prev }, seq) {
      if (id < index) return "DUPLICATE"; // 1
      if ((fault !== "CHAIN_GAP" && fault !== "CHAIN_ORDER") || seq === 0) return fault;
      if (this.wasFollowed(prev)) return "CHAIN_FORK"; // 3
      return prev > index ? "CHAIN_ORDER" : fault; // 4
    }
  }

  // In a part: what is between is not here.
  function skips(head, { prev }, { seq }) {
    return head ? !head.ended && seq > head.seq + 1 && prev !== head.id : seq > 0;
  }

  function next(head, { id, prev }, receipt) {
    const { seq } = receipt;
    if (id === head.id) return "DUPLICATE"; // 1
    if (seq === 0) return "SESSION_DUPLICATE"; // 2
    if (head.ended) return "CHAIN_ORDER"; // 5
    if (prev === head.prev) return "CHAIN_FORK"; // 3
    if (prev !== head.id) return seq <= head.seq ? "CHAIN_ORDER" : "CHAIN_GAP"; // 8, 9
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

// V10, the processes (verification.md): one writer at a time holds a log, and its session, the kernel's, spans all that
// it wrote. Everything here is FLOW_INVALID otherwise, and each receipt has the first that is wrong with it.
helm.processes = (() => {
  "use strict";
  const KERNELS_ONLY = ["statement", "hold", "recovery"];

  class Processes {
    constructor() {
      this.number = 0; // of the process that writes; 0: none has begun
      this.kernel = null; // its session, while that is open
      this.sessions = new Map(); // id -> the process in which its first receipt stands
      this.open = new Set(); // the sessions of this process without an end
      this.intents = new Map(); // leaf -> {session, process}
      this.unsettled = new Set(); // intents without an outcome
      this.owed = 0; // of these, those of earlier processes
      this.mustRecover = false;
    }

    // Null, or what is wrong.
    receive(leaf, receipt) {
      const fault = begins(receipt) ? null : this.fault(receipt); // a process can begin anywhere: the last one may have died
      this.take(leaf, receipt);
      return fault;
    }

    fault(receipt) {
      const { shape, session } = receipt;
      const inKernels = session === this.kernel;
      if (this.isPast(session)) return "it is of a session of an earlier process";
      if (!this.kernel) return "it stands where no session of the kernel is open";
      if (KERNELS_ONLY.includes(shape) && !inKernels) return `a ${shape} is not in the kernel's session`;
      if ((shape === "decision" || shape === "raw") && inKernels) return "a decision is in the kernel's session";
      if (shape === "recovery") return receipt.seq === 1 ? null : "a recovery is not the second receipt of its session";
      if (shape === "outcome") return this.outcomeFault(receipt);
      if (this.mustRecover || this.owed) return "it comes before what the process before left open was recovered and concluded";
      if (shape === "end" && inKernels && this.open.size > 1) return "the kernel's session ends before another one";
      return null;
    }

    outcomeFault({ decision, session, status }) {
      const intent = this.intents.get(decision);
      if (!intent) return null; // an orphan, which the story finds
      if (this.isPast(intent.session) && status !== "UNKNOWN") return "a later process says more of a call than that nothing is known";
      if (this.mustRecover && this.isOwed(decision)) return "it comes before the recovery that it is a part of";
      const place = this.open.has(intent.session) ? intent.session : this.kernel;
      return session === place ? null : "an outcome is in neither its decision's open session nor, behind the end of that, the kernel's";
    }

    take(leaf, receipt) {
      const { shape, session } = receipt;
      if (begins(receipt)) this.begin(session);
      if (!this.sessions.has(session)) this.sessions.set(session, this.number);
      if (this.sessions.get(session) === this.number) this.open.add(session);
      if (shape === "end") {
        this.open.delete(session);
        if (session === this.kernel) this.kernel = null;
      }
      if (shape === "recovery") this.mustRecover = false;
      if (helm.receipt.isIntent(receipt) && !this.intents.has(leaf)) {
        this.intents.set(leaf, { session, process: this.number });
        this.unsettled.add(leaf);
      }
      if (shape === "outcome") {
        if (this.isOwed(receipt.decision)) this.owed -= 1;
        this.unsettled.delete(receipt.decision);
      }
    }

    begin(session) {
      this.mustRecover = this.open.size > 0 || this.unsettled.size > 0;
      this.owed = this.unsettled.size;
      this.number += 1;
      this.open = new Set();
      this.kernel = session;
    }

    isPast(session) {
      return (this.sessions.get(session) ?? this.number) < this.number;
    }

    isOwed(decision) {
      return this.unsettled.has(decision) && this.intents.get(decision).process < this.number;
    }
  }

  function begins(receipt) {
    return receipt.shape === "start" && receipt.principal === "kernel";
  }

  return { Processes };
})();

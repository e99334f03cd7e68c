// V10, the processes (verification.md): one writer at a time holds a log, and its session, the kernel's, spans all that
// it wrote. Everything here is FLOW_INVALID otherwise, and each receipt has the first that is wrong with it.
helm.processes = (() => {
  "use strict";
  const { Column } = helm.column;
  const KERNELS_ONLY = ["statement", "hold", "freeze", "lapse", "gap", "recovery"];

  class Processes {
    constructor(log) {
      this.log = log;
      this.number = 0; // of the process that writes; 0: none has begun
      this.kernel = null; // its session, while that is open
      this.processOf = new Column(Int32Array); // of a session, by its first receipt: number + 1
      this.openIn = new Column(Int32Array); // of a session without an end: number + 1 of its process
      this.open = 0; // such sessions of this process
      // Of an intent or an offer:
      this.sessionOf = new Column(Int32Array); // + 1
      this.begunIn = new Column(Int32Array); // its process
      this.unsettled = new Column(Uint8Array); // 1: an intent without an outcome
      this.unsettledCount = 0;
      this.owed = 0; // of these, those of earlier processes
      this.mustRecover = false;
    }

    // Null, or what is wrong.
    receive(spot, receipt) {
      const fault = begins(receipt) ? null : this.fault(spot.session, receipt); // a process can begin anywhere: the last one may have died
      this.take(spot, receipt);
      return fault;
    }

    fault(session, receipt) {
      const { shape } = receipt;
      const inKernels = session === this.kernel;
      if (this.isPast(session)) return "it is of a session of an earlier process";
      if (this.kernel === null) return "it stands where no session of the kernel is open";
      if (KERNELS_ONLY.includes(shape) && !inKernels) return `a ${shape} is not in the kernel's session`;
      if ((shape === "decision" || shape === "raw") && inKernels) return "a decision is in the kernel's session";
      if (shape === "recovery") return receipt.seq === 1 ? null : "a recovery is not the second receipt of its session";
      if (shape === "outcome") return this.outcomeFault(session, receipt);
      if (this.mustRecover || this.owed) return "it comes before what the process before left open was recovered and concluded";
      if (shape === "end" && inKernels && this.open > 1) return "the kernel's session ends before another one";
      return null;
    }

    outcomeFault(session, { decision, status }) {
      const intent = this.log.intentOf(decision);
      if (intent < 0) return null; // an orphan, which the story finds
      const intents = this.sessionOf.get(intent) - 1;
      if (this.isPast(intents) && status !== "UNKNOWN") return "a later process says more of a call than that nothing is known";
      if (this.mustRecover && this.isOwed(intent)) return "it comes before the recovery that it is a part of";
      const place = this.isOpen(intents) ? intents : this.kernel;
      return session === place ? null : "an outcome is in neither its decision's open session nor, behind the end of that, the kernel's";
    }

    take({ id, session }, receipt) {
      const { shape } = receipt;
      if (begins(receipt)) this.begin(session);
      if (!this.processOf.get(session)) this.processOf.set(session, this.number + 1);
      if (this.processOf.get(session) === this.number + 1) this.opened(session);
      if (shape === "end") {
        this.closed(session);
        if (session === this.kernel) this.kernel = null;
      }
      if (shape === "recovery") this.mustRecover = false;
      if (helm.receipt.goes(receipt)) this.went(session, this.log.intents.idOf(id), helm.receipt.isIntent(receipt));
      if (shape === "outcome") this.settled(this.log.intentOf(receipt.decision));
    }

    // Of what the client acts on nothing is owed.
    went(session, intent, isIntent) {
      if (this.sessionOf.get(intent)) return; // a copy of one before it
      this.sessionOf.set(intent, session + 1);
      this.begunIn.set(intent, this.number);
      if (!isIntent) return;
      this.unsettled.set(intent, 1);
      this.unsettledCount++;
    }

    begin(session) {
      this.mustRecover = this.open > 0 || this.unsettledCount > 0;
      this.owed = this.unsettledCount;
      this.number += 1;
      this.open = 0;
      this.kernel = session;
    }

    opened(session) {
      if (!this.isOpen(session)) this.open++;
      this.openIn.set(session, this.number + 1);
    }

    closed(session) {
      if (this.isOpen(session)) this.open--;
      this.openIn.set(session, 0);
    }

    isOpen(session) {
      return this.openIn.get(session) === this.number + 1;
    }

    settled(intent) {
      if (intent < 0 || !this.unsettled.get(intent)) return;
      if (this.isOwed(intent)) this.owed -= 1;
      this.unsettled.set(intent, 0);
      this.unsettledCount--;
    }

    isPast(session) {
      const process = this.processOf.get(session);
      return process !== 0 && process <= this.number;
    }

    isOwed(intent) {
      return this.unsettled.get(intent) === 1 && this.begunIn.get(intent) < this.number;
    }
  }

  function begins(receipt) {
    return receipt.shape === "start" && receipt.principal === "kernel";
  }

  return { Processes };
})();

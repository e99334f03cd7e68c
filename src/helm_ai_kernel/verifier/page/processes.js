// V10, the processes (verification.md): one writer at a time holds a log, and its session, the kernel's, spans all that
// it wrote. Everything here is FLOW_INVALID otherwise; each method gives what is wrong, as a list of details.
helm.processes = (() => {
  "use strict";
  const KERNELS_ONLY = ["statement", "hold", "recovery"];

  class Processes {
    constructor() {
      this.number = 0; // of the process that writes; 0: none has begun
      this.kernel = null; // its session
      this.kernelEnded = false;
      this.sessions = new Map(); // id -> {process, principal, ended, receipts, start}
      this.open = new Set(); // its sessions without an end
      this.mustRecover = false;
      this.mustConclude = 0; // intents of earlier processes without outcome
    }

    principalOf(session) {
      return this.sessions.get(session)?.principal ?? null;
    }

    // `openIntents`: how many have no outcome before this receipt.
    receive(receipt, openIntents) {
      const faults = [];
      if (receipt.shape === "start" && receipt.principal === "kernel") this.begin(receipt, openIntents);
      else this.goOn(receipt, faults);
      this.sessions.get(receipt.session).receipts += 1;
      if (receipt.shape === "end") this.end(receipt, faults);
      return faults;
    }

    begin(receipt, openIntents) {
      this.mustRecover = this.number > 0 && (this.open.size > 0 || openIntents > 0);
      this.mustConclude = openIntents;
      this.number += 1;
      this.kernel = receipt.session;
      this.kernelEnded = false;
      this.open = new Set();
      this.enter(receipt);
    }

    enter(receipt) {
      const principal = receipt.shape === "start" ? receipt.principal : null; // a session whose start is not here
      this.sessions.set(receipt.session, { process: this.number, principal, ended: false, receipts: 0 });
      this.open.add(receipt.session);
    }

    goOn(receipt, faults) {
      const { shape } = receipt;
      if (this.number === 0) faults.push("a receipt stands before the first process");
      if (this.kernelEnded) faults.push("a receipt stands behind the end of the kernel's session");
      if (shape === "start" || !this.sessions.has(receipt.session)) this.enter(receipt);
      const session = this.sessions.get(receipt.session);
      if (session.process < this.number) faults.push("a receipt is of a session of an earlier process");
      if (this.mustRecover && shape !== "recovery") faults.push("something comes before the recovery of what was left open");
      else if (this.mustConclude > 0 && !["recovery", "outcome"].includes(shape)) faults.push("something comes before what was left open is concluded");
      this.mustRecover = false; // said once
      this.place(receipt, session, faults);
    }

    place(receipt, session, faults) {
      const { shape } = receipt;
      const inKernels = receipt.session === this.kernel;
      if (KERNELS_ONLY.includes(shape) && !inKernels) faults.push(`a ${shape} is not in the kernel's session`);
      if (["decision", "raw"].includes(shape) && inKernels) faults.push("a decision is in the kernel's session");
      if (shape === "recovery" && session.receipts !== 1) faults.push("a recovery is not the second receipt of its session");
    }

    end(receipt, faults) {
      this.sessions.get(receipt.session).ended = true;
      this.open.delete(receipt.session);
      if (receipt.session !== this.kernel) return;
      this.kernelEnded = true;
      if (this.open.size) faults.push("the kernel's session ends before another one");
    }

    // Of an outcome and its intent, {session, process}.
    settle(receipt, intent) {
      const faults = [];
      const gone = this.sessions.get(intent.session)?.ended || intent.process < this.number;
      const own = receipt.session === intent.session;
      if (!own && !(receipt.session === this.kernel && gone)) faults.push("an outcome is in neither its decision's session nor, behind the end of that, the kernel's");
      if (intent.process < this.number && receipt.status !== "UNKNOWN") faults.push("a later process says more of a call than that nothing is known");
      return faults;
    }

    concluded(intent) {
      if (intent.process < this.number) this.mustConclude -= 1;
    }
  }

  return { Processes };
})();

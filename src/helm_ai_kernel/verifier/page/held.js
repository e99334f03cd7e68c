// Held calls (approval.md, A held call): what each waits for, what people said of it, and what that comes to for whoever
// reads it at a size of the registry and at a moment. A number for each, and columns; who may say what is approvals.js's.
helm.held = (() => {
  "use strict";
  const { Numbers, columns } = helm.column;
  const [HELD, USED, ENDED] = [1, 2, 3];
  const COLUMNS = {
    ...{ leaf: Int32Array, status: Uint8Array, subject: Int32Array, args: Int32Array, intent: Int32Array, requires: Int32Array, at: Int32Array },
    ...{ approvals: Int32Array, denial: Int32Array, override: Int32Array, disputed: Uint8Array, offered: Uint8Array },
  };

  class HeldCalls {
    constructor({ people, clocks, requirements }) {
      Object.assign(this, { people, clocks, requirements, numbers: new Numbers(), rows: columns(COLUMNS) });
    }

    // `subject`: whose call, of what tool under which pin; `args`, `intent`: names of them.
    // `offered`: 1 where the client would act on it. `disputed`: it was held before, and somebody disputed it then.
    begin(leaf, { subject, args, intent, requires, at, disputed, offered }) {
      const call = this.numbers.idOf(leaf);
      const said = { leaf, status: HELD, subject, args, intent, requires, at, approvals: 0, denial: 0, override: 0, disputed, offered };
      for (const [name, value] of Object.entries(said)) this.rows[name].set(call, value);
    }

    // The held call of a leaf; -1 where none is held.
    find(leaf) {
      const call = this.numbers.find(leaf);
      return call >= 0 && this.rows.status.get(call) === HELD ? call : -1;
    }

    wasUsed(leaf) {
      const call = this.numbers.find(leaf);
      return call >= 0 && this.rows.status.get(call) === USED;
    }

    end(call, isUsed) {
      this.rows.status.set(call, isUsed ? USED : ENDED);
    }

    get(call, name) {
      return this.rows[name].get(call);
    }

    approvals(call) {
      return this.people.chain(this.get(call, "approvals"));
    }

    // Those whose keys are in force.
    counted(call, size) {
      return this.approvals(call).filter((voice) => this.people.isInForce(this.people.keyOf(voice), size));
    }

    // A statement that nothing refuses takes effect.
    say(call, word, voice) {
      const put = (name, value) => this.rows[name].set(call, value);
      const { people } = this;
      const chained = (voices) => voices.reduce((last, one) => people.behind(last, one), 0);
      if (word === "approve") put("approvals", people.behind(this.get(call, "approvals"), voice));
      if (word === "withdraw") put("approvals", chained(this.approvals(call).filter((one) => people.keyOf(one) !== people.keyOf(voice))));
      if (word === "dispute") put("approvals", 0);
      if (word === "dispute") put("disputed", 1);
      if (word === "deny") put("denial", voice);
      if (word === "override") put("override", voice);
    }

    // {state, since (a clock's number, or null), voices}: the table of states.
    read(call, size) {
      const { people } = this;
      const [denial, override] = [this.get(call, "denial"), this.get(call, "override")];
      if (denial) return { state: "denied", since: null, voices: [denial] };
      if (override && people.keysOf(override).every((key) => people.isInForce(key, size))) return { state: "overridden", since: people.clockOf(override), voices: [override] };
      const [counted, { approvers }] = [this.counted(call, size), this.requirements.get(this.get(call, "requires"))];
      if (counted.length < approvers) return { state: "waiting", since: null, voices: counted };
      const voices = counted.slice(0, approvers);
      return { state: "complete", since: people.clockOf(voices.at(-1)), voices };
    }

    // What is true of it at a moment.
    conclude(call, { state, since }, now) {
      const { timelock, expires } = this.requirements.get(this.get(call, "requires"));
      const silent = this.clocks.passed(since ?? this.get(call, "at"), now).perhaps;
      if (silent > expires + (since === null ? 0 : timelock)) return "ERR_APPROVAL_EXPIRED";
      if (state === "denied") return "ERR_APPROVAL_DENIED";
      if (since === null) return "ERR_APPROVAL_REQUIRED";
      const { surely, wentBack } = this.clocks.passed(since, now);
      if (wentBack) return "ERR_CLOCK_UNTRUSTED";
      return state === "complete" && surely < timelock ? "ERR_APPROVAL_PENDING_TIMELOCK" : "OK";
    }

    // Whether a decision reads it so: `find` gives the number of a leaf.
    isReadAs(call, { state, since, voices }, said, find) {
      const statements = said.statements ?? [];
      return (
        said.state === state &&
        (said.disputed === true) === (this.get(call, "disputed") === 1) &&
        this.requirements.of(said.requires) === this.get(call, "requires") &&
        this.clocks.is(this.get(call, "at"), said.at) &&
        (since === null ? said.since === undefined : this.clocks.is(since, said.since)) &&
        statements.length === voices.length &&
        voices.every((voice, at) => this.people.leafOf(voice) === find(statements[at]))
      );
    }
  }

  return { HeldCalls };
})();

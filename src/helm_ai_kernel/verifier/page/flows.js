// V10, the story (verification.md): what must hold between a call, its key, its outcome, a drift and a hold, in log
// order. Each receipt is met once, what a later one can ask for is in columns by the number of its leaf, and each receipt
// has the first fault that it has. What it says counts all the same for those behind it.
helm.flows = (() => {
  "use strict";
  const { isIntent } = helm.receipt;
  const { Column, Rows } = helm.column;
  const { Table } = helm.table;
  const DRIFTS = ["ERR_CONNECTOR_CONTRACT_DRIFT", "ERR_MCP_SCHEMA_DRIFT"];
  const STATUSES = [null, "OK", "FAILED", "DRIFT", "UNKNOWN", "LATE"];
  const NOTHING = new Map();

  class Story {
    constructor(log, force) {
      Object.assign(this, { log, force });
      this.principals = new Column(Int32Array); // session -> whose it is, by its first start: name + 1
      // Of the leaf of an intent:
      this.tools = new Column(Int32Array); // name + 1; 0: it is none
      this.callers = new Column(Int32Array);
      this.reserved = new Column(Int32Array); // what was reserved, and the same of 0 each, as names
      this.zeroed = new Column(Int32Array);
      this.indexes = new Column(Int32Array);
      this.statuses = new Column(Uint8Array); // of its first outcome
      this.open = new Column(Uint8Array); // 1: it has no outcome
      this.openCount = 0;
      this.unknown = new Column(Uint8Array); // 1: its outcome is UNKNOWN, and no LATE came
      this.keys = new Table(32); // that are claimed, and by which intent, with which arguments
      this.claims = new Column(Int32Array);
      this.claimedArgs = new Rows(32);
      this.drifted = new Column(Int32Array); // tool -> leaf + 1 of the newest drift that no hold has answered
      this.reasons = new Column(Uint8Array); // and which
      this.nothing = this.amounts(NOTHING);
    }

    // Null, or [code, detail].
    receive(spot, receipt) {
      const { shape } = receipt;
      if (shape === "outcome") return this.outcome(spot, receipt);
      if (shape === "statement") return this.force.receive(spot.place, receipt.statement);
      const fault = this.flow(spot, receipt);
      return fault && ["FLOW_INVALID", fault];
    }

    flow(spot, receipt) {
      const { shape } = receipt;
      if (shape === "start") return this.start(spot.session, receipt);
      if (shape === "decision" || shape === "raw") return this.decision(spot, receipt);
      if (shape === "hold") return this.hold(spot.id, receipt);
      if (shape === "recovery" && receipt.open !== this.openCount) return `a recovery counts ${receipt.open} open intents, and there are ${this.openCount}`;
      return null;
    }

    start(session, { principal, policy, catalog }) {
      if (!this.principals.get(session)) this.principals.set(session, this.log.nameOf(principal) + 1);
      return policy === this.force.policy && catalog === this.force.catalog ? null : "a session starts with what is not in force";
    }

    decision(spot, decision) {
      const { verdict, key, facts, subject } = decision;
      const tool = decision.tool === undefined ? null : this.log.nameOf(decision.tool);
      const claim = key === undefined ? -1 : this.keys.find(helm.log.bytesOf(key));
      if (isIntent(decision)) this.intent(spot, tool, decision);
      if (decision.policy !== this.force.policy) return "a decision names a policy that is not in force";
      if (this.force.erasureOf(subject) !== null) return "a decision names a subject that was erased before";
      if (facts.hold !== undefined && !(tool !== null && this.force.holdsBy(tool, this.log.find(facts.hold)))) return "a decision reads a hold that is not in force on its tool";
      const fault = claim < 0 ? unclaimed(decision) : this.claimed(spot.session, tool, decision, claim);
      if (fault || verdict === "DENY") return fault;
      if (this.force.isHeld(tool) || this.drifted.get(tool)) return "a call of a held or drifted tool is not denied";
      return this.force.policy === null ? "a call is not denied, and no policy is in force" : null;
    }

    intent({ id, place, session }, tool, { key, args_hash, reserved }) {
      this.tools.set(id, tool + 1);
      this.callers.set(id, this.principals.get(session));
      this.reserved.set(id, this.amounts(reserved ?? NOTHING));
      this.zeroed.set(id, reserved ? this.amounts(new Map([...reserved.keys()].map((budget) => [budget, 0]))) : this.nothing);
      this.indexes.set(id, place);
      if (!this.open.get(id)) this.openCount++;
      this.open.set(id, 1);
      if (key === undefined || this.keys.find(helm.log.bytesOf(key)) >= 0) return;
      this.claims.set(this.keys.push(helm.log.bytesOf(key)), id);
      this.claimedArgs.push(helm.log.bytesOf(args_hash));
    }

    claimed(session, tool, decision, number) {
      const { claim } = decision.facts;
      const id = this.claims.get(number);
      if (this.tools.get(id) !== tool + 1 || this.callers.get(id) !== this.principals.get(session)) return "a key is claimed by another tool or principal";
      if (!claim || this.log.find(claim.decision) !== id || claim.state !== this.stateOf(id)) return "a decision does not read the claim on its key as the log shows it";
      if (isIntent(decision)) return "a call is dispatched under a key that is claimed";
      if (decision.repeats === undefined) return null;
      const same = this.claimedArgs.is(number, helm.log.bytesOf(decision.args_hash));
      const rightly = this.log.find(decision.repeats) === id && same && claim.state === "done" && claim.same_args;
      return rightly ? null : "a repeat is not of the call, done and with the same arguments, that claimed its key";
    }

    stateOf(id) {
      const status = STATUSES[this.statuses.get(id)];
      return status === null ? "open" : status === "UNKNOWN" ? "unknown" : "done";
    }

    outcome(spot, outcome) {
      const { decision, status, reason } = outcome;
      const id = this.log.find(decision);
      if (id < 0 || !this.tools.get(id)) return ["ORPHAN_OUTCOME", "an outcome names no intent before it"];
      const first = this.statuses.get(id) === 0;
      if (!first && !(status === "LATE" && this.unknown.get(id))) return ["DOUBLE_OUTCOME", "a call ends twice"];
      if (this.open.get(id)) this.openCount--;
      this.open.set(id, 0);
      if (first) this.statuses.set(id, STATUSES.indexOf(status));
      this.unknown.set(id, first && status === "UNKNOWN" ? 1 : 0);
      const tool = this.tools.get(id) - 1;
      if (DRIFTS.includes(reason) && !this.force.isHeld(tool)) {
        this.drifted.set(tool, spot.id + 1);
        this.reasons.set(tool, DRIFTS.indexOf(reason));
      }
      const invalid = (detail) => ["FLOW_INVALID", detail];
      if (first && status === "LATE") return invalid("LATE is the first outcome");
      if (!outcome.parents.includes(decision)) return invalid("an outcome has not its decision among its parents");
      return this.amounts(outcome.spent ?? NOTHING) === this.dueOf(id, status) ? null : invalid("an outcome has not spent what was reserved");
    }

    // What an outcome has to say that it spent.
    dueOf(id, status) {
      if (status === "LATE") return this.nothing;
      return (status === "FAILED" ? this.zeroed : this.reserved).get(id);
    }

    // Counts are the same if their canonical forms are.
    amounts(counts) {
      return this.log.nameOf(helm.json.canonicalText(counts));
    }

    // A hold answers the drift of its tool: the next one needs another cause.
    hold(id, { tool: name, cause, reason }) {
      const tool = this.log.nameOf(name);
      const drift = this.drifted.get(tool);
      const answers = drift && drift - 1 === this.log.find(cause) && DRIFTS[this.reasons.get(tool)] === reason;
      this.drifted.set(tool, 0);
      this.force.addHold(id, tool);
      return answers ? null : "a hold has no drift of its tool as its cause, or another reason";
    }

    // V15: where the intents stand.
    *unresolved(requireResolved) {
      for (let id = 0; id < this.log.size; id++) {
        if (this.open.get(id) || (requireResolved && this.unknown.get(id))) yield this.indexes.get(id);
      }
    }
  }

  function unclaimed({ facts, repeats }) {
    if (facts.claim) return "a decision reads a claim, and none is on its key";
    return repeats === undefined ? null : "a decision repeats what is no earlier call with its key";
  }

  return { Story };
})();

// V10, the story (verification.md): what must hold between a call, its key, its outcome, a drift and a hold, in log
// order. Each receipt is met once, and everything that a later one can ask for is in a map.
helm.flows = (() => {
  "use strict";
  const { isIntent } = helm.receipt;
  const { sameCounts } = helm.forms;
  const DRIFTS = ["ERR_CONNECTOR_CONTRACT_DRIFT", "ERR_MCP_SCHEMA_DRIFT"];
  const NOTHING = new Map();

  class Story {
    constructor(force) {
      this.force = force;
      this.processes = new helm.processes.Processes();
      this.intents = new Map(); // leaf -> {leaf, index, tool, principal, session, process, key, args_hash, reserved, status, late}
      this.claims = new Map(); // key -> its intent
      this.namers = new Map(); // key -> {tool, principal} of the decisions that named it, null where they were several
      this.drifted = new Map(); // tool -> leaf -> reason: outcomes that no hold has answered
      this.openCount = 0;
    }

    // What is wrong with this receipt: [[code, detail], …]
    receive(index, leaf, receipt) {
      const faults = [];
      const invalid = (detail) => faults.push(["FLOW_INVALID", detail]);
      this.processes.receive(receipt, this.openCount).forEach(invalid);
      const { shape } = receipt;
      if (shape === "start") this.start(receipt, invalid);
      if (shape === "decision" || shape === "raw") this.decision(index, leaf, receipt, invalid);
      if (shape === "outcome") this.outcome(leaf, receipt, invalid, faults);
      if (shape === "hold") this.hold(leaf, receipt, invalid);
      if (shape === "recovery" && receipt.open !== this.openCount) invalid(`a recovery counts ${receipt.open} open intents, and there are ${this.openCount}`);
      return faults;
    }

    start(receipt, invalid) {
      const { policy, catalog } = this.force;
      if (receipt.policy !== policy || receipt.catalog !== catalog) invalid("a session starts with what is not in force");
    }

    decision(index, leaf, decision, invalid) {
      const { tool, verdict, key, facts } = decision;
      if (decision.policy !== this.force.policy) invalid("a decision names a policy that is not in force");
      if (this.force.policy === null && verdict !== "DENY") invalid("a call is not denied, and no policy is in force");
      const held = this.force.held.get(tool);
      if (facts.hold !== undefined && held?.leaf !== facts.hold) invalid("a decision reads a hold that is not in force on its tool");
      if ((held || this.drifted.get(tool)?.size) && verdict !== "DENY") invalid("a call of a held or drifted tool is not denied");
      const claimed = key === undefined ? undefined : this.claims.get(key);
      this.claim(decision, claimed, invalid);
      if ("repeats" in decision) this.repeat(decision, claimed, invalid);
      if (isIntent(decision)) this.intent(index, leaf, decision, claimed, invalid);
      if (key !== undefined) this.name(decision);
    }

    claim(decision, claimed, invalid) {
      const { claim } = decision.facts;
      if (!claimed) {
        if (claim) invalid("a decision reads a claim, and none is on its key");
        return;
      }
      if (claimed.tool !== decision.tool || claimed.principal !== this.principalOf(decision)) invalid("a key is claimed by another tool or principal");
      if (!claim) invalid("a decision does not read the claim on its key");
      else if (claim.decision !== claimed.leaf || claim.state !== stateOf(claimed)) invalid("a decision reads a claim that the log contradicts");
      if (isIntent(decision)) invalid("a call is dispatched under a key that is claimed");
    }

    repeat(decision, claimed, invalid) {
      const { claim } = decision.facts;
      const rightly = claimed && claimed.leaf === decision.repeats && claimed.args_hash === decision.args_hash && claim?.state === "done" && claim.same_args;
      if (!rightly) invalid("a repeat is not of the call, done and with the same arguments, that claimed its key");
    }

    intent(index, leaf, decision, claimed, invalid) {
      const { tool, key, args_hash, session } = decision;
      const principal = this.principalOf(decision);
      const intent = { leaf, index, tool, principal, session, key, args_hash, reserved: decision.reserved ?? NOTHING, status: null, late: false };
      intent.process = this.processes.sessions.get(session).process;
      this.intents.set(leaf, intent);
      this.openCount += 1;
      if (key === undefined || claimed) return;
      this.claims.set(key, intent);
      const named = this.namers.get(key);
      if (named !== undefined && !(named && named.tool === tool && named.principal === principal)) invalid("a key was named by another tool or principal");
    }

    name(decision) {
      const { key, tool } = decision;
      const principal = this.principalOf(decision);
      const named = this.namers.get(key);
      if (named === undefined) this.namers.set(key, { tool, principal });
      else if (named && (named.tool !== tool || named.principal !== principal)) this.namers.set(key, null);
    }

    principalOf(receipt) {
      return this.processes.principalOf(receipt.session);
    }

    outcome(leaf, outcome, invalid, faults) {
      const intent = this.intents.get(outcome.decision);
      if (!intent) return faults.push(["ORPHAN_OUTCOME", "an outcome names no intent before it"]);
      const first = intent.status === null;
      const late = outcome.status === "LATE";
      if (!first && !(late && intent.status === "UNKNOWN" && !intent.late)) faults.push(["DOUBLE_OUTCOME", "a call ends twice"]);
      if (first && late) invalid("LATE is the first outcome");
      if (!outcome.parents.includes(outcome.decision)) invalid("an outcome has not its decision among its parents");
      if (!sameCounts(outcome.spent ?? NOTHING, dueOf(intent, outcome.status))) invalid("an outcome has not spent what was reserved");
      this.processes.settle(outcome, intent).forEach(invalid);
      if (first) this.settle(intent, outcome);
      else if (late) intent.late = true;
      this.drift(leaf, intent.tool, outcome);
    }

    settle(intent, outcome) {
      intent.status = outcome.status;
      this.openCount -= 1;
      this.processes.concluded(intent);
    }

    drift(leaf, tool, outcome) {
      if (!DRIFTS.includes(outcome.reason) || this.force.held.has(tool)) return;
      if (!this.drifted.has(tool)) this.drifted.set(tool, new Map());
      this.drifted.get(tool).set(leaf, outcome.reason);
    }

    // A hold answers the drift of its tool: the next one needs another cause.
    hold(leaf, hold, invalid) {
      if (this.drifted.get(hold.tool)?.get(hold.cause) !== hold.reason) invalid("a hold has no drift of its tool as its cause, or another reason");
      this.drifted.delete(hold.tool);
      this.force.addHold(leaf, hold.tool);
    }

    // V15
    unresolved(requireResolved) {
      const open = ({ status, late }) => status === null || (requireResolved && status === "UNKNOWN" && !late);
      return [...this.intents.values()].filter(open);
    }
  }

  function stateOf(intent) {
    return intent.status === null ? "open" : intent.status === "UNKNOWN" ? "unknown" : "done";
  }

  // What an outcome has to say that it spent.
  function dueOf(intent, status) {
    if (status === "LATE") return NOTHING;
    if (status !== "FAILED") return intent.reserved;
    return new Map([...intent.reserved.keys()].map((budget) => [budget, 0]));
  }

  return { Story };
})();

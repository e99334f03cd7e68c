// V10, the story (verification.md): what must hold between a call, its key, its outcome, a drift and a hold, in log
// order. Each receipt is met once, everything that a later one can ask for is in a map, and each receipt has the first
// fault that it has. What it says counts all the same for those behind it.
helm.flows = (() => {
  "use strict";
  const { isIntent } = helm.receipt;
  const { sameCounts } = helm.forms;
  const DRIFTS = ["ERR_CONNECTOR_CONTRACT_DRIFT", "ERR_MCP_SCHEMA_DRIFT"];
  const NOTHING = new Map();

  class Story {
    constructor(force) {
      this.force = force;
      this.principals = new Map(); // session -> whose it is, by its first start
      this.intents = new Map(); // leaf -> {leaf, index, tool, principal, args_hash, reserved}
      this.claims = new Map(); // key -> leaf of the intent that claimed it
      this.statuses = new Map(); // leaf of an intent -> what its first outcome says
      this.open = new Map(); // leaf -> index of the intents without an outcome
      this.unknown = new Map(); // the same of those whose outcome is UNKNOWN, and no LATE came
      this.drifted = new Map(); // tool -> {leaf, reason} of the newest outcome that no hold has answered
    }

    // Null, or [code, detail].
    receive(index, leaf, receipt) {
      const { shape } = receipt;
      if (shape === "outcome") return this.outcome(leaf, receipt);
      if (shape === "statement") return this.force.receive(receipt.statement);
      const fault = this.flow(index, leaf, receipt);
      return fault && ["FLOW_INVALID", fault];
    }

    flow(index, leaf, receipt) {
      const { shape } = receipt;
      if (shape === "start") return this.start(receipt);
      if (shape === "decision" || shape === "raw") return this.decision(index, leaf, receipt);
      if (shape === "hold") return this.hold(leaf, receipt);
      if (shape === "recovery" && receipt.open !== this.open.size) return `a recovery counts ${receipt.open} open intents, and there are ${this.open.size}`;
      return null;
    }

    start({ session, principal, policy, catalog }) {
      if (!this.principals.has(session)) this.principals.set(session, principal);
      return policy === this.force.policy && catalog === this.force.catalog ? null : "a session starts with what is not in force";
    }

    decision(index, leaf, decision) {
      const { tool, verdict, key, facts } = decision;
      const claimed = key === undefined ? undefined : this.claims.get(key);
      if (isIntent(decision)) this.intent(index, leaf, decision);
      if (decision.policy !== this.force.policy) return "a decision names a policy that is not in force";
      if (facts.hold !== undefined && !this.force.holdsBy(tool, facts.hold)) return "a decision reads a hold that is not in force on its tool";
      const fault = claimed === undefined ? unclaimed(decision) : this.claim(decision, this.intents.get(claimed));
      if (fault || verdict === "DENY") return fault;
      if (this.force.isHeld(tool) || this.drifted.has(tool)) return "a call of a held or drifted tool is not denied";
      return this.force.policy === null ? "a call is not denied, and no policy is in force" : null;
    }

    intent(index, leaf, { tool, key, args_hash, session, reserved }) {
      const principal = this.principals.get(session);
      this.intents.set(leaf, { leaf, index, tool, principal, args_hash, reserved: reserved ?? NOTHING });
      this.open.set(leaf, index);
      if (key !== undefined && !this.claims.has(key)) this.claims.set(key, leaf);
    }

    claim(decision, claimed) {
      const { claim } = decision.facts;
      if (claimed.tool !== decision.tool || claimed.principal !== this.principals.get(decision.session)) return "a key is claimed by another tool or principal";
      if (claim?.decision !== claimed.leaf || claim.state !== this.stateOf(claimed.leaf)) return "a decision does not read the claim on its key as the log shows it";
      if (isIntent(decision)) return "a call is dispatched under a key that is claimed";
      if (decision.repeats === undefined) return null;
      const rightly = decision.repeats === claimed.leaf && decision.args_hash === claimed.args_hash && claim.state === "done" && claim.same_args;
      return rightly ? null : "a repeat is not of the call, done and with the same arguments, that claimed its key";
    }

    stateOf(leaf) {
      const status = this.statuses.get(leaf);
      return status === undefined ? "open" : status === "UNKNOWN" ? "unknown" : "done";
    }

    outcome(leaf, outcome) {
      const { decision, status, reason } = outcome;
      const intent = this.intents.get(decision);
      if (!intent) return ["ORPHAN_OUTCOME", "an outcome names no intent before it"];
      const first = !this.statuses.has(decision);
      if (!first && !(status === "LATE" && this.unknown.has(decision))) return ["DOUBLE_OUTCOME", "a call ends twice"];
      this.open.delete(decision);
      this.unknown.delete(decision);
      if (first) this.statuses.set(decision, status);
      if (first && status === "UNKNOWN") this.unknown.set(decision, intent.index);
      if (DRIFTS.includes(reason) && !this.force.isHeld(intent.tool)) this.drifted.set(intent.tool, { leaf, reason });
      const invalid = (detail) => ["FLOW_INVALID", detail];
      if (first && status === "LATE") return invalid("LATE is the first outcome");
      if (!outcome.parents.includes(decision)) return invalid("an outcome has not its decision among its parents");
      return sameCounts(outcome.spent ?? NOTHING, dueOf(intent, status)) ? null : invalid("an outcome has not spent what was reserved");
    }

    // A hold answers the drift of its tool: the next one needs another cause.
    hold(leaf, { tool, cause, reason }) {
      const drift = this.drifted.get(tool);
      this.drifted.delete(tool);
      this.force.addHold(leaf, tool);
      return drift?.leaf === cause && drift.reason === reason ? null : "a hold has no drift of its tool as its cause, or another reason";
    }

    // V15: indexes of intents.
    unresolved(requireResolved) {
      return [...this.open.values(), ...(requireResolved ? this.unknown.values() : [])];
    }
  }

  function unclaimed({ facts, repeats }) {
    if (facts.claim) return "a decision reads a claim, and none is on its key";
    return repeats === undefined ? null : "a decision repeats what is no earlier call with its key";
  }

  // What an outcome has to say that it spent.
  function dueOf(intent, status) {
    if (status === "LATE") return NOTHING;
    if (status !== "FAILED") return intent.reserved;
    return new Map([...intent.reserved.keys()].map((budget) => [budget, 0]));
  }

  return { Story };
})();

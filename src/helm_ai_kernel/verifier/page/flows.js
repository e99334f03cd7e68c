// V10, the story (verification.md): what must hold between a call, its key, its outcome, a drift, a hold and a freeze, in
// log order. Each receipt is met once, what a later one can ask for is in columns by number, and each receipt has the first
// fault that it has. What it says counts all the same for those behind it.
helm.flows = (() => {
  "use strict";
  const { goes, isOffer } = helm.receipt;
  const { Column } = helm.column;
  const DRIFTS = ["ERR_CONNECTOR_CONTRACT_DRIFT", "ERR_MCP_SCHEMA_DRIFT"];
  const STATUSES = [null, "OK", "FAILED", "DRIFT", "UNKNOWN", "LATE", "REPORTED"];
  const NOTHING = new Map();

  class Story {
    // `attachments` have a number for each key and for all arguments.
    constructor(log, force, attachments) {
      Object.assign(this, { log, force, attachments: attachments.names });
      this.principals = new Column(Int32Array); // session -> whose it is, by its first start: name + 1
      this.spelled = new Map(); // such a name -> its text
      // Of a call that goes, an intent or an offer, by its number among these:
      this.tools = new Column(Int32Array); // name
      this.callers = new Column(Int32Array);
      this.reserved = new Column(Int32Array); // what was reserved, as a name
      this.places = new Column(Int32Array);
      this.statuses = new Column(Uint8Array); // of its first outcome
      this.offers = new Column(Uint8Array); // 1: the client acts on it
      this.open = new Column(Uint8Array); // 1: it has no outcome
      this.openCount = 0;
      this.unknown = new Column(Uint8Array); // 1: its outcome is UNKNOWN, and no LATE came
      this.claims = new Column(Int32Array); // key -> intent + 1 that claimed it
      this.claimedArgs = new Column(Int32Array); // intent -> its arguments, if it claimed a key
      this.zeros = new Column(Int32Array); // what was reserved -> the same of 0 each, as names
      this.drifted = new Column(Int32Array); // tool -> leaf + 1 of the newest drift that no hold has answered
      this.reasons = new Column(Uint8Array); // and which
      this.nothing = this.amounts(NOTHING);
      this.zeros.set(this.nothing, this.nothing);
    }

    // Null, or [code, detail].
    receive(spot, receipt) {
      const { shape } = receipt;
      if (shape === "outcome") return this.outcome(spot, receipt);
      if (shape === "statement") return this.force.receive(spot, receipt);
      if (shape === "lapse") return this.force.approvals.lapse(receipt);
      if (shape === "decision" || shape === "raw") return this.decision(spot, receipt);
      const fault = this.flow(spot, receipt);
      return fault && ["FLOW_INVALID", fault];
    }

    flow(spot, receipt) {
      const { shape } = receipt;
      if (shape === "start") return this.start(spot.session, receipt);
      if (shape === "hold") return this.hold(spot.id, receipt);
      if (shape === "freeze") return this.freeze(spot.id, receipt);
      if (shape === "recovery" && receipt.open !== this.openCount) return `a recovery counts ${receipt.open} open intents, and there are ${this.openCount}`;
      return null;
    }

    start(session, { principal, policy, catalog }) {
      if (!this.principals.get(session)) {
        const name = this.log.nameOf(principal);
        this.principals.set(session, name + 1);
        if (!this.spelled.has(name)) this.spelled.set(name, helm.bytes.text(helm.bytes.utf8(principal))); // of its own, and no piece of a line
      }
      return policy === this.force.policy && catalog === this.force.catalog ? null : "a session starts with what is not in force";
    }

    // Of a session whose start is not here it is nobody's.
    principalOf(session) {
      const name = this.principals.get(session);
      return name ? this.spelled.get(name - 1) : "";
    }

    decision(spot, decision) {
      const principal = this.principalOf(spot.session);
      const concerned = helm.approvals.concerns(decision);
      const fault = this.unheeded(spot, decision, principal);
      const judged = fault ? ["FLOW_INVALID", fault] : concerned ? this.force.approvals.judge(decision, principal) : null;
      if (concerned) this.force.approvals.follow(spot, decision, principal);
      if (judged) return judged;
      if (this.force.erasureOf(decision.subject) !== null) return ["FLOW_INVALID", "a decision names a subject that was erased before"];
      if (decision.verdict === "DENY" || this.force.policy !== null) return null;
      return ["FLOW_INVALID", "a call is not denied, and no policy is in force"];
    }

    // What a decision does not heed of policy, holds, freezes and its key.
    unheeded(spot, decision, principal) {
      const { key, facts } = decision;
      const { holds, freezes, policy } = this.force;
      const tool = decision.tool === undefined ? null : this.log.nameOf(decision.tool);
      const claim = key === undefined ? 0 : this.claims.get(this.numberOf(key));
      if (goes(decision)) this.go(spot, tool, decision);
      if (decision.policy !== policy) return "a decision names a policy that is not in force";
      if (facts.hold !== undefined && !(tool !== null && holds.isBy(tool, this.log.find(facts.hold)))) return "a decision reads a hold that is not in force on its tool";
      const scopes = freezes.count ? helm.stops.scopesOf(principal, decision.session, decision.tool ?? "").map((scope) => this.log.nameOf(scope)) : [];
      if (facts.frozen !== undefined && !scopes.some((scope) => freezes.isBy(scope, this.log.find(facts.frozen)))) return "a decision reads a freeze that does not stop it";
      const isStopped = scopes.some((scope) => freezes.has(scope)) || (tool !== null && (holds.has(tool) || this.drifted.get(tool)));
      if (isStopped && decision.verdict !== "DENY") return "a call of a held or drifted tool, or one that a freeze stops, is not denied";
      return (claim ? this.claimed(spot.session, tool, decision, claim - 1) : unclaimed(decision)) ?? this.caused(spot, decision);
    }

    // The parents that a decision names nowhere else are outcomes of calls of its principal. What V9 finds is not asked.
    caused({ index, session }, { parents, repeats, relies = [], facts }) {
      const named = [repeats, facts.approval?.call, ...relies];
      const mine = this.principals.get(session);
      const others = parents.filter((leaf) => !named.includes(leaf)).map((leaf) => this.log.find(leaf));
      const isMine = others.every((id) => id < 0 || id >= index || (mine && this.toldTo(id) === mine));
      return isMine ? null : "a decision has a parent that is no outcome of a call of its principal";
    }

    // Whose call an outcome is of.
    toldTo(id) {
      const call = this.log.intents.toldOf(id);
      return call < 0 ? 0 : this.callers.get(call);
    }

    go({ id, place, session }, tool, decision) {
      const { key, args_hash, reserved } = decision;
      const intent = this.log.intents.idOf(id);
      this.tools.set(intent, tool);
      this.callers.set(intent, this.principals.get(session));
      this.reserved.set(intent, reserved ? this.reservedOf(reserved) : this.nothing);
      this.places.set(intent, place);
      this.offers.set(intent, isOffer(decision) ? 1 : 0);
      if (!isOffer(decision)) this.opened(intent);
      if (key === undefined || this.claims.get(this.numberOf(key))) return;
      this.claims.set(this.numberOf(key), intent + 1);
      this.claimedArgs.set(intent, this.numberOf(args_hash));
    }

    opened(intent) {
      if (!this.open.get(intent)) this.openCount++;
      this.open.set(intent, 1);
    }

    reservedOf(counts) {
      const name = this.amounts(counts);
      this.zeros.set(name, this.amounts(new Map([...counts.keys()].map((budget) => [budget, 0]))));
      return name;
    }

    numberOf(attachment) {
      return this.attachments.idOf(helm.log.bytesOf(attachment));
    }

    claimed(session, tool, decision, intent) {
      const { claim } = decision.facts;
      if (this.tools.get(intent) !== tool || this.callers.get(intent) !== this.principals.get(session)) return "a key is claimed by another tool or principal";
      if (!claim || this.log.intentOf(claim.decision) !== intent || claim.state !== this.stateOf(intent)) return "a decision does not read the claim on its key as the log shows it";
      if (goes(decision)) return "a call goes under a key that is claimed";
      if (decision.repeats === undefined) return null;
      if (isByClient(decision) !== (this.offers.get(intent) === 1)) return "a repeat is of a call that somebody else acts on";
      const same = this.claimedArgs.get(intent) === this.numberOf(decision.args_hash);
      const rightly = this.log.intentOf(decision.repeats) === intent && same && claim.state === "done" && claim.same_args;
      return rightly ? null : "a repeat is not of the call, done and with the same arguments, that claimed its key";
    }

    stateOf(intent) {
      const status = STATUSES[this.statuses.get(intent)];
      return status === null ? "open" : status === "UNKNOWN" ? "unknown" : "done";
    }

    outcome(spot, outcome) {
      const { decision, status, reason } = outcome;
      const intent = this.log.intentOf(decision);
      if (intent < 0) return ["ORPHAN_OUTCOME", "an outcome names no intent and no offer before it"];
      const isOffered = this.offers.get(intent) === 1;
      const first = this.statuses.get(intent) === 0;
      if (!first && !(status === "LATE" && this.unknown.get(intent))) return ["DOUBLE_OUTCOME", "a call ends twice"];
      if (this.open.get(intent)) this.openCount--;
      this.open.set(intent, 0);
      if (first) this.statuses.set(intent, STATUSES.indexOf(status));
      this.unknown.set(intent, first && status === "UNKNOWN" && !isOffered ? 1 : 0);
      this.log.intents.tell(spot.id, intent);
      const tool = this.tools.get(intent);
      if (DRIFTS.includes(reason) && status !== "REPORTED" && !this.force.holds.has(tool)) {
        this.drifted.set(tool, spot.id + 1);
        this.reasons.set(tool, DRIFTS.indexOf(reason));
      }
      const invalid = (detail) => ["FLOW_INVALID", detail];
      if ((status === "REPORTED") !== isOffered) return invalid("an offer ends otherwise than REPORTED, or an intent so");
      if (first && status === "LATE") return invalid("LATE is the first outcome");
      if (!outcome.parents.includes(decision)) return invalid("an outcome has not its decision among its parents");
      return this.amounts(outcome.spent ?? NOTHING) === this.dueOf(intent, status) ? null : invalid("an outcome has not spent what was reserved");
    }

    // What an outcome has to say that it spent.
    dueOf(intent, status) {
      if (status === "LATE") return this.nothing;
      const reserved = this.reserved.get(intent);
      return status === "FAILED" ? this.zeros.get(reserved) : reserved;
    }

    // Counts are the same if their canonical forms are.
    amounts(counts) {
      return this.log.nameOf(helm.json.canonicalText(counts));
    }

    // A hold answers the drift of its tool: the next one needs another cause. Without one, the kernel saw something by itself.
    hold(id, { tool: name, cause, reason }) {
      const tool = this.log.nameOf(name);
      const drift = this.drifted.get(tool);
      const held = this.force.holds.has(tool);
      const answers = cause === undefined ? !drift && !held : drift && drift - 1 === this.log.find(cause) && DRIFTS[this.reasons.get(tool)] === reason;
      this.drifted.set(tool, 0);
      this.force.holds.add(id, tool);
      return answers ? null : "a hold has no drift of its tool as its cause, or another reason, or holds by itself what is held";
    }

    freeze(id, { scope }) {
      const what = this.log.nameOf(scope);
      const again = this.force.freezes.has(what);
      this.force.freezes.add(id, what);
      return again ? "what is frozen already is frozen" : null;
    }

    // V15: where the intents stand.
    *unresolved(requireResolved) {
      for (let intent = 0; intent < this.log.intents.size; intent++) {
        if (this.open.get(intent) || (requireResolved && this.unknown.get(intent))) yield this.places.get(intent);
      }
    }
  }

  function isByClient({ effect_by }) {
    return effect_by === "client";
  }

  function unclaimed({ facts, repeats }) {
    if (facts.claim) return "a decision reads a claim, and none is on its key";
    return repeats === undefined ? null : "a decision repeats what is no earlier call with its key";
  }

  return { Story };
})();

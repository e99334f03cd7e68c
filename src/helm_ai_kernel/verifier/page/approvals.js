// The ceremony as one fold over the log (approval.md): held calls, what people say of them, grants, and the decisions in
// whose making they had a part. `judge` asks and changes nothing; `follow` changes, whatever was found.
helm.approvals = (() => {
  "use strict";
  const SAYS = ["ERR_APPROVAL_PENDING_TIMELOCK", "ERR_APPROVAL_DENIED", "ERR_APPROVAL_EXPIRED", "ERR_CLOCK_UNTRUSTED"];
  const OVER = ["ERR_APPROVAL_EXPIRED", "ERR_APPROVAL_DENIED"];
  const { APPROVERS_MAX } = helm.facts;

  const invalid = (detail) => ["APPROVAL_INVALID", detail];
  const reused = (detail) => ["APPROVAL_REUSED", detail];

  // Whether people had a part in this decision. What follows is of these only.
  function concerns({ effect_by, requires, relies, facts, reason }) {
    return effect_by !== "none" && Boolean(requires || relies || facts.approval || facts.grant || SAYS.includes(reason));
  }

  function digestOf(kind, said) {
    return helm.sha.digest(helm.record.signedBytes({ kind, payload: helm.json.canonical(new Map(Object.entries(said))) }));
  }

  class Approvals {
    // `registry`: null where nobody can say who spoke.
    constructor(log, registry) {
      Object.assign(this, { log, registry, clocks: new helm.clock.Clocks(), requirements: new helm.requirements.Requirements(log) });
      this.people = new helm.people.People(registry ?? { keys: new Map() });
      this.held = new helm.held.HeldCalls(this);
      this.grants = new helm.grants.Grants(this);
    }

    // A decision by `principal`: null, or [code, detail].
    judge(decision, principal) {
      if (!this.registry) return null;
      const { facts, parents, relies = [] } = decision;
      const fault = this.judged({ ...this.read(decision, principal), size: decision.trust.size }, decision, principal);
      if (fault) return fault;
      const named = [...(facts.approval ? [facts.approval.call] : []), ...relies];
      return named.every((leaf) => parents.includes(leaf)) ? null : ["FLOW_INVALID", "a decision has not the held call, or what it relies on, among its parents"];
    }

    // {subject, now}: whose call of what, and when.
    read({ tool, pin, facts, effect_by }, principal) {
      return { subject: this.subjectOf(principal, tool, pin), isOffered: effect_by === "client", now: this.clocks.read(facts.clock) };
    }

    judged(at, decision, principal) {
      const { facts, requires, verdict, reason } = decision;
      const call = facts.approval ? this.held.find(this.log.find(facts.approval.call)) : -1;
      const misread = facts.approval && this.misread(at, decision, call);
      if (misread) return misread;
      const truth = call < 0 ? null : this.held.conclude(call, this.held.read(call, at.size), at.now);
      if (requires) return this.begun(call, truth, this.requirements.of(requires), principal);
      if (SAYS.includes(reason) && call < 0) return invalid("a decision says of a held call what it is told, and reads none");
      if (call >= 0 && (SAYS.includes(reason) || verdict === "ESCALATE") && reason !== truth) return invalid(`a decision says ${reason} of a held call of which ${truth} is true`);
      const grant = facts.grant ? this.grants.find(this.log.find(facts.grant.statement)) : -1;
      if (facts.grant && (grant < 0 || !this.grants.isFor(grant, at.subject))) return invalid("a decision reads a grant that there is not for this principal, tool and pin");
      if (facts.grant && !this.grants.isReadAs(grant, at.size, facts.grant)) return invalid("a decision does not read a grant as the log shows it");
      return helm.receipt.goes(decision) ? this.dispatched(at, decision, { call, truth, grant }) : null;
    }

    misread({ subject, isOffered, size }, { facts, requires, args_hash }, call) {
      const leaf = this.log.find(facts.approval.call);
      if (call < 0) return (this.held.wasUsed(leaf) ? reused : invalid)("a decision reads a held call that is held no more, or never was");
      if (this.held.get(call, "subject") !== subject) return invalid("a decision reads a held call of another principal, tool or pin");
      if ((this.held.get(call, "offered") === 1) !== isOffered) return invalid("a decision reads a held call that somebody else would act on");
      if (!requires && this.held.get(call, "args") !== this.log.nameOf(args_hash)) return invalid("a decision reads a held call with other arguments");
      const isSo = this.held.isReadAs(call, this.held.read(call, size), facts.approval, (one) => this.log.find(one));
      return isSo ? null : invalid("a decision does not read a held call as the log shows it");
    }

    // A call is held, or once more.
    begun(call, truth, requires, principal) {
      if (!this.requirements.names(requires, this.log.nameOf(principal))) return invalid("a call is held that its own principal could approve");
      if (call < 0) return null;
      if (OVER.includes(truth)) return invalid("a call is held again that a person denied, or that nobody approved in time");
      const before = this.held.get(call, "requires");
      return requires !== before && this.requirements.covers(requires, before) ? null : invalid("a call is held again, and no more is asked for");
    }

    // A call that goes by what people said.
    dispatched({ now, size }, { facts, relies }, { call, truth, grant }) {
      if (call < 0 && !relies) return null;
      if (call >= 0 && relies && sameList(relies, facts.approval.statements ?? [])) {
        if (truth === "ERR_APPROVAL_PENDING_TIMELOCK") return ["TIMELOCK_SHORT", "a call is dispatched before its timelock is over"];
        return truth === "OK" ? null : invalid(`a call is dispatched, and ${truth} is true of its approval`);
      }
      if (grant < 0 || !relies || !sameList(relies, [facts.grant.statement])) return invalid("a call relies on what is neither its approval nor a grant for it");
      if (this.grants.isOver(grant, now)) return invalid("a call relies on a grant that is over");
      if (call < 0) return null;
      if (this.held.get(call, "disputed") || OVER.includes(truth)) return invalid("a grant lets a call go that a person denied or disputed, or that expired");
      return this.grants.suffices(grant, size, this.held.get(call, "requires"), now) ? null : invalid("a held call is dispatched by a grant that is not the approval that it waits for");
    }

    // What is held and granted behind a decision, whatever is wrong with it.
    follow(spot, decision, principal) {
      const { facts, requires, relies = [], reason } = decision;
      const call = facts.approval ? this.held.find(this.log.find(facts.approval.call)) : -1;
      const isGone = helm.receipt.goes(decision);
      const disputed = call >= 0 ? this.held.get(call, "disputed") : 0;
      if (call >= 0 && (isGone || requires || reason === "ERR_APPROVAL_EXPIRED")) this.held.end(call, isGone);
      const grant = relies.length === 1 ? this.grants.find(this.log.find(relies[0])) : -1;
      if (grant >= 0) this.grants.use(grant);
      if (requires) this.begin(spot, decision, principal, disputed);
    }

    begin({ id }, { record, log, tool, pin, args_hash, requires, facts, effect_by }, principal, disputed) {
      const deployment = log.slice(0, Math.max(log.lastIndexOf("/"), 0));
      const intent = digestOf("intent", { args_hash, deployment, pin, principal, requires: record.body.get("requires"), tool });
      const subject = this.subjectOf(principal, tool, pin);
      const names = { args: this.log.nameOf(args_hash), intent: this.log.nameOf(intent) };
      const begun = { requires: this.requirements.of(requires), at: this.clocks.keep(facts.clock), disputed, offered: effect_by === "client" ? 1 : 0 };
      this.held.begin(id, { subject, ...names, ...begun });
    }

    subjectOf(principal, tool = null, pin = null) {
      return this.log.nameOf(JSON.stringify([principal, tool, pin]));
    }

    // An approval, an override, a grant or a revocation whose nonce is new. Who may not speak at all is not heard.
    state(spot, receipt) {
      const { statement, parents, clock } = receipt;
      const signers = this.registry && this.people.signersOf(statement);
      if (!signers) return null;
      const heard = { statement, signers, size: receipt.trust.size, now: clock && this.clocks.read(clock), call: -1 };
      if (statement.call) heard.call = this.held.find(this.log.find(statement.call));
      const refused = this.refusal(heard);
      if (refused) return refused;
      this.take(spot.id, heard, clock);
      const about = statement.call ?? statement.grant;
      return about === undefined || parents.includes(about) ? null : ["FLOW_INVALID", "a statement has not what it is about among its parents"];
    }

    refusal(heard) {
      const { statement, signers } = heard;
      if (statement.kind === "revocation") return this.grants.find(this.log.find(statement.grant)) < 0 ? invalid("it revokes a grant that there is not") : null;
      if (statement.kind !== "grant") return this.unsayable(heard);
      const isOwn = signers.some((key) => this.people.principal(key).toLowerCase() === statement.principal.toLowerCase());
      return isOwn ? invalid("somebody grants calls to themselves") : null;
    }

    // Why this cannot be said of a held call now, in the order of the page.
    unsayable({ statement, signers, size, now, call }) {
      if (call < 0) return (this.held.wasUsed(this.log.find(statement.call)) ? reused : invalid)("it is about a call that is held no more, or never was");
      const { held, people, requirements } = this;
      const word = wordOf(statement);
      if (this.log.nameOf(statement.intent) !== held.get(call, "intent")) return invalid("it was signed for another call than the one that is held");
      const { intent, nonce, confirmation } = statement;
      const key = people.keys[signers[0]].id;
      if (word !== "override" && confirmation !== digestOf("approval-confirm", { decision: word, intent, key, nonce })) return invalid("its confirmation is not the answer to this challenge by this key");
      const read = held.read(call, size);
      if (held.conclude(call, read, now) === "ERR_APPROVAL_EXPIRED") return invalid("nobody approved the call in time");
      const lets = word === "approve" || word === "override";
      if (lets && this.clocks.passed(held.get(call, "at"), now).wentBack) return invalid("a clock went back since the call was held");
      if (read.state === "denied") return invalid("the call is denied");
      if (read.state === "overridden" && word !== "deny") return reused("the call is overridden");
      if (word === "withdraw" && !held.approvals(call).some((voice) => people.keyOf(voice) === signers[0])) return invalid("it withdraws what this key did not approve");
      if (lets && signers.some((signer) => requirements.excludes(held.get(call, "requires"), people.principal(signer)))) return invalid("one of its signers may not approve this call");
      const counted = word === "approve" ? held.counted(call, size) : [];
      const again = counted.length >= APPROVERS_MAX || counted.some((voice) => people.isSame(people.keyOf(voice), signers[0]));
      return again ? reused("this person, or as many as can, approved the call already") : null;
    }

    take(leaf, { statement, signers, call }, clock) {
      if (statement.kind === "revocation") return this.grants.revoke(this.grants.find(this.log.find(statement.grant)));
      const voice = this.people.speak(leaf, signers, this.clocks.keep(clock));
      if (statement.kind !== "grant") return this.held.say(call, wordOf(statement), voice);
      const { principal, tool, pin, calls, lasts_ms } = statement;
      this.grants.take(leaf, { subject: this.subjectOf(principal, tool, pin), calls, lasts: lasts_ms, voice });
    }

    // Null, or [code, detail].
    lapse({ call: leaf, clock, parents, trust }) {
      if (!this.registry) return null;
      const call = this.held.find(this.log.find(leaf));
      if (call < 0) return invalid("a lapse ends what is no held call");
      const truth = this.held.conclude(call, this.held.read(call, trust.size), this.clocks.read(clock));
      this.held.end(call, false);
      if (truth !== "ERR_APPROVAL_EXPIRED") return invalid("a held call lapses before its time is over");
      return parents.includes(leaf) ? null : ["FLOW_INVALID", "a lapse has not the held call among its parents"];
    }
  }

  function wordOf({ kind, decision }) {
    return kind === "override" ? kind : decision;
  }

  function sameList(one, other) {
    return one.length === other.length && one.every((item, at) => item === other[at]);
  }

  return { Approvals, concerns };
})();

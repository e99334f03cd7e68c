// V11, what is in force (verification.md): people's statements, in log order, and what each changes. A statement that
// should not have counted is found, and followed all the same: the kernel did follow it, and what stands behind it in
// the log is judged by that.
helm.force = (() => {
  "use strict";

  const { Column } = helm.column;
  const { Table } = helm.table;
  const { Stops } = helm.stops;

  const ABOUT = ["approval", "override", "grant", "revocation"]; // held calls and grants

  class Force {
    // `policies`: digest -> {catalog} of what the pack holds.
    constructor(log, policies, registry) {
      Object.assign(this, { log, policies, approvals: new helm.approvals.Approvals(log, registry) });
      this.policy = null;
      this.catalog = null;
      this.holds = new Stops(); // of tools
      this.freezes = new Stops(); // of scopes
      this.nonces = new Table(16);
      this.erased = new Table(16); // subjects
      this.erasures = new Column(Float64Array); // subject -> where its erasure stands
    }

    // Where the erasure of a subject stands; null before it.
    erasureOf(subject) {
      const number = subject === undefined ? -1 : this.erased.find(helm.bytes.unhex(subject));
      return number < 0 ? null : this.erasures.get(number);
    }

    // Null, or [code, detail].
    receive(spot, receipt) {
      const { statement } = receipt;
      const reused = this.isReused(statement);
      if (ABOUT.includes(statement.kind)) return reused ?? this.approvals.state(spot, receipt);
      const refused = this.follow(spot.place, statement);
      if (reused) return reused;
      return refused && ["APPROVAL_INVALID", refused];
    }

    // The one question that is asked of a part, too.
    isReused({ nonce }) {
      const before = this.nonces.size;
      return this.nonces.idOf(helm.bytes.unhex(nonce)) < before ? ["APPROVAL_REUSED", `the nonce \`${nonce}\` was used before`] : null;
    }

    follow(index, statement) {
      if (statement.kind === "release") return this.release(statement);
      return statement.kind === "erasure" ? this.erase(index, statement) : this.change(statement);
    }

    release({ hold, tool, scope }) {
      const id = this.log.find(hold);
      const isKnown = scope === undefined ? this.holds.remove(id, this.log.nameOf(tool)) : this.freezes.remove(id, this.log.nameOf(scope));
      return isKnown ? null : "it releases what is no hold in force on that";
    }

    erase(index, { subject }) {
      if (this.erasureOf(subject) !== null) return "it erases a subject that was erased before";
      this.erasures.set(this.erased.push(helm.bytes.unhex(subject)), index);
      return null;
    }

    change({ kind, policy, catalog }) {
      const before = { policy: this.policy, catalog: this.catalog };
      this.policy = policy.to;
      this.catalog = catalog.to;
      if (policy.from !== before.policy || catalog.from !== before.catalog) return "it goes from what was not in force";
      if (kind === "activation" && catalog.from !== null && catalog.to !== catalog.from) return "an activation changes the catalogue";
      const bound = this.policies.get(policy.to)?.catalog ?? null; // null where the pack does not tell
      return bound !== null && bound !== catalog.to ? "its policy is bound to another catalogue" : null;
    }
  }

  return { Force };
})();

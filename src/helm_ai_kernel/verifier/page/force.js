// V11, what is in force (verification.md): people's statements, in log order, and what each changes. A statement that
// should not have counted is found, and followed all the same: the kernel did follow it, and what stands behind it in
// the log is judged by that.
helm.force = (() => {
  "use strict";

  class Force {
    // `policies`: digest -> {catalog} of what the pack holds.
    constructor(policies) {
      this.policies = policies;
      this.policy = null;
      this.catalog = null;
      this.holds = new Map(); // tool -> leaves of its holds that are not released
      this.nonces = new Set();
    }

    addHold(leaf, tool) {
      if (!this.holds.has(tool)) this.holds.set(tool, new Set());
      this.holds.get(tool).add(leaf);
    }

    isHeld(tool) {
      return this.holds.get(tool)?.size > 0;
    }

    holdsBy(tool, leaf) {
      return this.holds.get(tool)?.has(leaf) ?? false;
    }

    // Null, or [code, detail].
    receive(statement) {
      const reused = this.nonces.has(statement.nonce);
      this.nonces.add(statement.nonce);
      const refused = statement.kind === "release" ? this.release(statement) : this.change(statement);
      if (reused) return ["APPROVAL_REUSED", `the nonce \`${statement.nonce}\` was used before`];
      return refused && ["APPROVAL_INVALID", refused];
    }

    release({ hold, tool }) {
      return this.holds.get(tool)?.delete(hold) ? null : "it releases what is no hold in force on that tool";
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

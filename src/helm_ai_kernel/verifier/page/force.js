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
      this.holds = new Map(); // leaf -> {leaf, tool, released}
      this.held = new Map(); // tool -> the hold that is not released
      this.nonces = new Set();
    }

    // True the first time.
    takeNonce(nonce) {
      const size = this.nonces.size;
      return this.nonces.add(nonce).size > size;
    }

    addHold(leaf, tool) {
      const hold = { leaf, tool, released: false };
      this.holds.set(leaf, hold);
      this.held.set(tool, hold);
    }

    // Null, or why it changes nothing that is in force.
    apply(statement) {
      return statement.kind === "release" ? this.release(statement) : this.change(statement);
    }

    release({ hold, tool }) {
      const released = this.holds.get(hold);
      if (!released || released.tool !== tool || released.released) return "it releases what is no hold in force on that tool";
      released.released = true;
      if (this.held.get(tool) === released) this.held.delete(tool);
      return null;
    }

    change({ kind, policy, catalog }) {
      const before = { policy: this.policy, catalog: this.catalog };
      this.policy = policy.to;
      this.catalog = catalog.to;
      if (policy.from !== before.policy || catalog.from !== before.catalog) return "it goes from what was not in force";
      if (kind === "activation" && before.catalog !== null && catalog.to !== before.catalog) return "an activation changes the catalogue";
      const bound = this.policies.get(policy.to)?.catalog ?? null; // null where the pack does not tell
      return bound !== null && bound !== catalog.to ? "its policy is bound to another catalogue" : null;
    }
  }

  return { Force };
})();

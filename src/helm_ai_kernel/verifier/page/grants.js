// Grants (approval.md, Grants): calls that people approved beforehand, so many of them, for so long. Whether the arguments
// of a call are as a grant says is for a replay to ask.
helm.grants = (() => {
  "use strict";
  const { Numbers, columns } = helm.column;
  const { compareByCodePoint } = helm.forms;
  const COLUMNS = { subject: Int32Array, left: Int32Array, lasts: Float64Array, voice: Int32Array };

  class Grants {
    constructor({ people, clocks, requirements }) {
      Object.assign(this, { people, clocks, requirements, numbers: new Numbers(), rows: columns(COLUMNS) });
    }

    take(leaf, { subject, calls, lasts, voice }) {
      const grant = this.numbers.idOf(leaf);
      const said = { subject, left: calls, lasts, voice };
      for (const [name, value] of Object.entries(said)) this.rows[name].set(grant, value);
    }

    // The grant of a leaf; -1 where there is none, or it was revoked.
    find(leaf) {
      const grant = this.numbers.find(leaf);
      return grant >= 0 && this.rows.voice.get(grant) ? grant : -1;
    }

    revoke(grant) {
      this.rows.voice.set(grant, 0);
    }

    use(grant) {
      this.rows.left.set(grant, Math.max(this.rows.left.get(grant) - 1, 0));
    }

    isFor(grant, subject) {
      return this.rows.subject.get(grant) === subject;
    }

    since(grant) {
      return this.people.clockOf(this.rows.voice.get(grant));
    }

    // Its signers whose keys are in force, each person once.
    by(grant, size) {
      const { people } = this;
      const here = people.keysOf(this.rows.voice.get(grant)).filter((key) => people.isInForce(key, size));
      const spelled = new Map(here.map((key) => [people.principal(key).toLowerCase(), people.principal(key)]));
      return [...spelled.values()].sort(compareByCodePoint);
    }

    isReadAs(grant, size, said) {
      const by = this.by(grant, size);
      const same = by.length === said.by.length && by.every((one, at) => one === said.by[at]); // `said.by` is never empty
      return same && said.left === this.rows.left.get(grant) && this.clocks.is(this.since(grant), said.since);
    }

    isOver(grant, now) {
      const { perhaps, wentBack } = this.clocks.passed(this.since(grant), now);
      return this.rows.left.get(grant) === 0 || wentBack || perhaps > this.rows.lasts.get(grant);
    }

    suffices(grant, size, requires, now) {
      const { approvers, timelock } = this.requirements.get(requires);
      const { surely, wentBack } = this.clocks.passed(this.since(grant), now);
      const count = this.by(grant, size).filter((one) => !this.requirements.excludes(requires, one)).length;
      return count >= approvers && !wentBack && surely >= timelock;
    }
  }

  return { Grants };
})();

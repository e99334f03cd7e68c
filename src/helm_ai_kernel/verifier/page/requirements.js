// What held calls wait for (approval.md, Values): each requirement once, as a number, however many calls wait for it.
helm.requirements = (() => {
  "use strict";
  const { Numbers, Lists, columns } = helm.column;

  class Requirements {
    constructor(log) {
      Object.assign(this, { log, numbers: new Numbers(), lists: new Lists() });
      this.rows = columns({ approvers: Uint8Array, timelock: Float64Array, expires: Float64Array, notBy: Int32Array, lowered: Int32Array });
    }

    // Two are the same exactly if their numbers are.
    of({ approvers, timelock_ms, expires_ms, not_by = [] }) {
      const name = this.log.nameOf(JSON.stringify([approvers, timelock_ms, expires_ms, not_by]));
      const known = this.numbers.find(name);
      if (known >= 0) return known;
      const number = this.numbers.idOf(name);
      const names = (list) => this.lists.of(list.map((one) => this.log.nameOf(one)));
      this.rows.approvers.set(number, approvers);
      this.rows.timelock.set(number, timelock_ms);
      this.rows.expires.set(number, expires_ms);
      this.rows.notBy.set(number, names(not_by));
      this.rows.lowered.set(number, names(not_by.map((one) => one.toLowerCase())));
      return number;
    }

    get(number) {
      const { approvers, timelock, expires } = this.rows;
      return { approvers: approvers.get(number), timelock: timelock.get(number), expires: expires.get(number) };
    }

    // To the letter.
    names(number, name) {
      return this.lists.get(this.rows.notBy.get(number)).includes(name);
    }

    // Whether this is the same person as one whose approval does not count.
    excludes(number, principal) {
      return this.lists.get(this.rows.lowered.get(number)).includes(this.log.nameOf(principal.toLowerCase()));
    }

    // Whether one is at least as strict as another in every respect.
    covers(number, other) {
      const [one, two] = [this.get(number), this.get(other)];
      const stricter = one.approvers >= two.approvers && one.timelock >= two.timelock && one.expires <= two.expires;
      return stricter && this.lists.get(this.rows.notBy.get(other)).every((name) => this.names(number, name));
    }
  }

  return { Requirements };
})();

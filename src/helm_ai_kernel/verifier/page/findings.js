// What is wrong with a pack, and where. A reader that cannot go on throws a Fault with one of the stable codes; the
// checklist catches it at the step that it was doing and goes on with the next one (verification.md, Steps).
helm.findings = (() => {
  "use strict";
  const LISTED_MAX = 20; // of each code (verification.md, Report): a flood of one finding hides no other

  class Fault extends Error {
    constructor(code, detail) {
      super(detail);
      this.code = code;
    }
  }

  // A question that is none: nothing is verified, and nobody's pack is to blame (exit 64).
  class Usage extends Error {}

  class Findings {
    constructor({ witnesses = "not_asked" } = {}) {
      this.listed = [];
      this.counts = new Map();
      this.exits = new Set();
      this.axes = new helm.report.Axes(witnesses);
      this.omitted = 0;
    }

    // `exit` only where the table of steps gives it one of its own: what a known head tells (V14). `axis` likewise.
    add(step, where, code, detail, { exit = helm.report.exitOf(code), axis = null } = {}) {
      const count = (this.counts.get(code) ?? 0) + 1;
      this.counts.set(code, count);
      this.axes.mark(step, code, axis);
      this.exits.add(exit);
      if (count > LISTED_MAX) this.omitted++;
      else this.listed.push({ code, step: "V" + step, where, detail: helm.bytes.printable(detail), exit });
    }

    // Does one thing of a step: its value, or null and a finding.
    attempt(step, where, work) {
      try {
        return work();
      } catch (fault) {
        return this.caught(step, where, fault);
      }
    }

    async attempted(step, where, work) {
      try {
        return await work();
      } catch (fault) {
        return this.caught(step, where, fault);
      }
    }

    // Only what is wrong with evidence is a finding; anything else is our own fault, and nobody's verdict.
    caught(step, where, fault, options) {
      if (!(fault instanceof Fault)) throw fault;
      this.add(step, where, fault.code, fault.message, options);
      return null;
    }

    // In the order of the steps, and of one step in the order in which they were found: sorting is stable.
    sorted() {
      const step = (finding) => Number(finding.step.slice(1));
      return [...this.listed].sort((a, b) => step(a) - step(b));
    }
  }

  return { Fault, Usage, Findings };
})();

// Verdict, axes and what is not proven (verification.md, Verdict and Report). A report is data: whoever shows it, shows
// printable ASCII.
helm.report = (() => {
  "use strict";
  const VERDICTS = { 0: "VALID", 10: "UNWITNESSED", 12: "INCOMPLETE", 20: "UNANCHORED", 25: "STALE", 30: "DIVERGED", 40: "INVALID", 50: "UNSUPPORTED", 64: "USAGE" };
  const PRECEDENCE = [64, 40, 30, 50, 25, 20, 12, 10, 0];
  const EXITS = { WITNESS_QUORUM: 10, OPEN_INTENT: 12, UNANCHORED: 20, STALE: 25, UNSUPPORTED: 50, SPLIT_VIEW: 30 };
  const SIGNERS = ["KEY_UNKNOWN", "KEY_WEAK", "KEY_ROLE", "KEY_REVOKED", "KEY_COMPROMISED_UNANCHORED", "REGISTRY_INVALID"];
  const LEFT_OPEN = ["UNSUPPORTED", "UNANCHORED"]; // a question that nobody could answer
  const OLDER = ["ROLLBACK", "SPLIT_VIEW"]; // of V14
  const AXIS_OF = { OPEN_INTENT: "completeness", TRUNCATED: "completeness", STALE: "freshness", WITNESS_QUORUM: "witnesses" };
  const NOT_PROVEN = [
    "that an outcome is what happened: it is what the kernel saw",
    "times and clocks: they are the operator's word",
    "effects that never passed the kernel",
    "the content of attachments that are withheld",
    "that decisions follow from their policy, that outputs keep their contract, that a key has one name: replay it",
    "how many calls a budget had left: nobody signs helm.toml",
  ];

  function exitOf(code) {
    return EXITS[code] ?? 40;
  }

  class Axes {
    constructor(witnesses) {
      this.all = { integrity: "ok", signers: "ok", completeness: "ok", freshness: "unknown", witnesses };
    }

    // What could not be looked at is unknown, unless it is known to have failed.
    leaveOpen(...names) {
      for (const name of names) if (this.all[name] === "ok") this.all[name] = "unknown";
    }

    // What holds, unless it is known to have failed elsewhere.
    holds(name) {
      if (this.all[name] === "unknown") this.all[name] = "ok";
    }

    // `axis`: what fails by this one, where that is no matter of its code.
    mark(step, code, axis) {
      if (step === 14) {
        if (OLDER.includes(code)) this.all.freshness = "failed";
        return; // anything else: there was nothing to compare with
      }
      const signers = SIGNERS.includes(code) || code === "UNANCHORED";
      const name = axis ?? (signers ? "signers" : (AXIS_OF[code] ?? "integrity"));
      if (LEFT_OPEN.includes(code)) return this.leaveOpen(name);
      this.all[name] = "failed";
      if (signers) this.leaveOpen("integrity"); // what nobody we know signed may be whole, and proves nothing
    }
  }

  // `seen`: {log, size, root, receipts, sessions, part, witnessed}
  function make(findings, seen) {
    const exits = new Set([...findings.exits, 0]);
    const exit = PRECEDENCE.find((one) => exits.has(one));
    const { log, size, root, receipts, sessions, part, witnessed } = seen;
    return {
      verdict: VERDICTS[exit],
      exit,
      axes: findings.axes.all,
      receipts,
      sessions,
      findings: findings.sorted().map(({ code, step, where, detail }) => ({ code, step, where, detail })),
      omitted: findings.omitted,
      log: log === null ? null : helm.bytes.printable(log),
      size,
      root,
      part,
      witnessed,
      not_proven: notProven(seen, findings.axes.all.witnesses),
    };
  }

  function notProven({ size, part }, witnesses) {
    const said = [...NOT_PROVEN];
    if (witnesses !== "ok") said.push("that nobody was shown another history of this log");
    if (part) said.push("what the log holds beside these receipts: this is a part of it");
    if (size !== null) said.push(`anything after size ${size}`);
    return said;
  }

  return { make, exitOf, Axes, VERDICTS };
})();

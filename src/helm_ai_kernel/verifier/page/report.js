// Verdict, axes and what is not proven (verification.md, Verdict and Report). A report is data: whoever shows it, shows
// printable ASCII.
helm.report = (() => {
  "use strict";
  const VERDICTS = { 0: "VALID", 10: "UNWITNESSED", 12: "INCOMPLETE", 20: "UNANCHORED", 25: "STALE", 30: "DIVERGED", 40: "INVALID", 50: "UNSUPPORTED", 64: "USAGE" };
  const PRECEDENCE = [64, 40, 30, 50, 25, 20, 12, 10, 0];
  const EXITS = { OPEN_INTENT: 12, UNANCHORED: 20, UNSUPPORTED: 50 };
  const SIGNERS = ["KEY_UNKNOWN", "KEY_WEAK", "KEY_ROLE", "REGISTRY_INVALID"];
  const COMPLETENESS = ["OPEN_INTENT", "TRUNCATED"];
  const NO_AXIS = ["UNSUPPORTED", "UNANCHORED"];
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

  // `seen`: {registry, pinned, unreadable, fresh, log, size, root, receipts, sessions}
  function make(findings, seen) {
    const exits = new Set([...findings.exits, 0]);
    const exit = PRECEDENCE.find((one) => exits.has(one));
    const { log, size, root, receipts, sessions } = seen;
    return {
      verdict: VERDICTS[exit],
      exit,
      axes: axesOf(findings, seen),
      receipts,
      sessions,
      findings: findings.sorted().map(({ code, step, where, detail }) => ({ code, step, where, detail })),
      omitted: findings.omitted,
      log: log === null ? null : helm.bytes.printable(log),
      size,
      root,
      not_proven: [...NOT_PROVEN, size === null ? "anything after the size of the checkpoint" : `anything after size ${size}`],
    };
  }

  function axesOf(findings, seen) {
    const stale = findings.exits.has(25) || findings.exits.has(30); // ROLLBACK and SPLIT_VIEW of V14, and only those
    const named = [...SIGNERS, ...COMPLETENESS, ...NO_AXIS];
    const broken = findings.kinds.some(({ code, exit }) => !named.includes(code) && exit !== 25 && exit !== 30);
    const unread = findings.has("UNSUPPORTED", "KEY_UNKNOWN") || !seen.registry;
    const axis = (failed, unknown) => (failed ? "failed" : unknown ? "unknown" : "ok");
    return {
      integrity: axis(broken, unread),
      signers: axis(findings.has(...SIGNERS), !seen.pinned || !seen.registry),
      completeness: axis(findings.has(...COMPLETENESS), seen.unreadable),
      freshness: axis(stale, !seen.fresh),
      witnesses: "not_asked",
    };
  }

  return { make, exitOf, VERDICTS };
})();

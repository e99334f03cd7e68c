// What the page says in words of ours: about a verdict, a receipt, and what became of a call.
helm.words = (() => {
  "use strict";
  const VERDICTS = {
    VALID: "Nothing is wrong with it, as far as you asked.",
    UNWITNESSED: "The witnesses that you named did not see it: nothing else is wrong.",
    INCOMPLETE: "A call has no outcome.",
    UNANCHORED: "It agrees with itself, and anybody can write such a pack: bring the genesis digest that you were given.",
    STALE: "It is older than you asked for, or than what you know.",
    DIVERGED: "It contradicts what you know: somebody has two histories of this log.",
    INVALID: "It is not what was signed, or breaks the rules. Do not rely on it.",
    UNSUPPORTED: "It has something that this version does not know.",
    USAGE: "What you brought besides the pack is not what it has to be.",
  };
  const OUTCOMES = { OK: "answered", FAILED: "provably not applied", DRIFT: "answered, against its contract: withheld from the caller", UNKNOWN: "unknown: it may have been applied", LATE: "answered late: nothing was released" };

  // What colour a receipt has: good, refused, odd, unknown, person, plain, unread.
  function toneOf(receipt) {
    if (!receipt) return "unread";
    const { shape, verdict, status } = receipt;
    if (shape === "raw") return "refused";
    if (shape === "decision") return { ALLOW: "good", DENY: "refused", ESCALATE: "odd" }[verdict];
    if (shape === "outcome") return { OK: "good", FAILED: "odd", DRIFT: "refused", UNKNOWN: "unknown", LATE: "odd" }[status];
    return { statement: "person", hold: "refused", recovery: "unknown" }[shape] ?? "plain";
  }

  // One line about a receipt, in words of ours only, but for names that are ASCII by their form.
  function titleOf(receipt) {
    if (!receipt) return "a line that nobody can read";
    const { shape } = receipt;
    if (shape === "start") return "session begins";
    if (shape === "end") return "session ends";
    if (shape === "raw" || shape === "decision") return `${receipt.verdict} ${receipt.reason}`;
    if (shape === "outcome") return "outcome " + receipt.status + (receipt.reason ? " " + receipt.reason : "");
    if (shape === "statement") return `a person's ${receipt.statement.kind}`;
    if (shape === "hold") return `the kernel holds a tool: ${receipt.reason}`;
    return receipt.heads ? "this log goes on in the place of another" : "the kernel recovers";
  }

  // 12,345
  function number(count) {
    return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
  }

  // 1 receipt, 2 receipts
  function counted(count, what) {
    return `${number(count)} ${what}${count === 1 ? "" : "s"}`;
  }

  // `24h` in seconds: a whole number of s, m, h or d. NaN for what is none.
  function seconds(age) {
    const [, count, unit] = /^([0-9]{1,9})\s*([smhd])$/.exec(age) ?? [];
    return count === undefined ? NaN : Number(count) * { s: 1, m: 60, h: 3600, d: 86400 }[unit];
  }

  return { VERDICTS, OUTCOMES, toneOf, titleOf, number, counted, seconds };
})();

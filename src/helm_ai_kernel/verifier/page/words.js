// What the page says in words of ours: about a verdict, a receipt, and what became of a call.
helm.words = (() => {
  "use strict";
  const { isByOverride, isByGrant } = helm.finder;
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
  const OUTCOMES = { OK: "answered", FAILED: "provably not applied", DRIFT: "answered, against its contract: withheld from the caller", UNKNOWN: "unknown: it may have been applied", LATE: "answered late: nothing was released", REPORTED: "reported by the client that acted on it" };

  const SAID = { approve: "approved", deny: "denied", dispute: "disputed: all approvals so far are void", withdraw: "approval withdrawn", override: "OVERRIDDEN" };
  const STATEMENTS = {
    approve: "a person approves a held call",
    deny: "a person denies a held call, for good",
    dispute: "a person disputes a held call: all its approvals are void",
    withdraw: "a person withdraws their approval",
    override: "OVERRIDE: roots let a held call go, without its quorum and its timelock",
    grant: "a person approves calls beforehand: grant",
    revocation: "a person ends a grant: revocation",
  };
  const FROZEN = "a person freezes calls: ERR_FROZEN";
  const LAPSED = "a held call lapses: nobody answered, or nobody used the answer: ERR_APPROVAL_EXPIRED";

  // What a statement about a held call says, or what kind it is.
  function wordOf({ kind, decision }) {
    return decision ?? kind;
  }

  // What colour a receipt has: good, refused, odd, unknown, person, plain, unread, override.
  function toneOf(receipt) {
    if (!receipt) return "unread";
    const { shape, verdict, status, statement } = receipt;
    if (statement?.kind === "override" || isByOverride(receipt)) return "override";
    if (["deny", "dispute"].includes(statement?.decision)) return "refused";
    if (shape === "raw") return "refused";
    if (shape === "decision") return { ALLOW: "good", DENY: "refused", ESCALATE: "odd" }[verdict];
    if (shape === "outcome") return { OK: "good", FAILED: "odd", DRIFT: "refused", UNKNOWN: "unknown", LATE: "odd", REPORTED: "plain" }[status];
    return { statement: "person", hold: "refused", freeze: "refused", lapse: "refused", recovery: "unknown" }[shape] ?? "plain";
  }

  // What a decision is beyond its verdict, if people have a part in it.
  function markOf(receipt) {
    const { effect_by, requires, relies, facts, reason, verdict } = receipt;
    if (effect_by === "none") return ": a question, and no call";
    if (effect_by === "client") return markOf({ ...receipt, effect_by: "kernel" }).replace(": dispatched", ": allowed") + " (the client acts)";
    if (requires) return facts.approval ? ": held on, for more" : ": held, until people answer";
    if (isByOverride(receipt)) return ": dispatched by OVERRIDE";
    if (relies) return isByGrant(receipt) ? ": dispatched by a grant" : ": dispatched as approved";
    if (reason === "ERR_APPROVAL_PENDING_TIMELOCK") return ": approved, and has to wait for its timelock";
    if (verdict === "ESCALATE") return ": asked again, and waits";
    return { ERR_APPROVAL_DENIED: ": a person said no", ERR_APPROVAL_EXPIRED: ": nobody answered, or nobody used the answer", ERR_FROZEN: ": frozen", ERR_CLOCK_UNTRUSTED: ": a clock went back" }[reason] ?? "";
  }

  // One line about a receipt, in words of ours only, but for names that are ASCII by their form.
  function titleOf(receipt) {
    if (!receipt) return "a line that nobody can read";
    const { shape } = receipt;
    if (shape === "start") return "session begins";
    if (shape === "end") return "session ends";
    if (shape === "raw" || shape === "decision") return `${receipt.verdict} ${receipt.reason}${markOf(receipt)}`;
    if (shape === "outcome") return "outcome " + receipt.status + (receipt.reason ? " " + receipt.reason : "");
    if (shape === "statement") return STATEMENTS[wordOf(receipt.statement)] ?? (receipt.statement.scope === undefined ? `a person's ${receipt.statement.kind}` : "a person ends a freeze: release");
    if (shape === "freeze") return receipt.by === undefined ? `the kernel quarantines a server: ${receipt.reason}` : FROZEN;
    if (shape === "lapse") return LAPSED;
    if (shape === "gap") return "refusals that were only counted";
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

  // 90,000 as `90 seconds`, 3,600,000 as `1 hour`: in the largest unit of which it is a whole number.
  function duration(ms) {
    const [size, unit] = [[86_400_000, "day"], [3_600_000, "hour"], [60_000, "minute"], [1000, "second"]].find(([size]) => ms >= size && ms % size === 0) ?? [1, "millisecond"];
    return counted(ms / size, unit);
  }

  // `24h` in seconds: a whole number of s, m, h or d. NaN for what is none.
  function seconds(age) {
    const [, count, unit] = /^([0-9]{1,9})\s*([smhd])$/.exec(age) ?? [];
    return count === undefined ? NaN : Number(count) * { s: 1, m: 60, h: 3600, d: 86400 }[unit];
  }

  return { VERDICTS, OUTCOMES, SAID, wordOf, toneOf, titleOf, number, counted, duration, seconds };
})();

// The story that a pack tells, as data: for each session who asked, and for each call what was tried, what was decided
// and why, what happened, what is unknown and what was withheld. It is told from what the checklist read; whether it
// may be believed is the report's to say.
helm.tale = (() => {
  "use strict";

  // [{id, principal, door, client, ended, receipts: [entry]}] in log order of their first receipts, and a list of
  // entries in log order: {index, leaf, session, receipt, tone, faults, outcomes}.
  function of(checklist, report) {
    const faults = faultsByReceipt(report);
    const entries = checklist.receipts.map(({ index, leaf, receipt }) => ({
      ...{ index, leaf, receipt, faults: faults.get(index) ?? [], outcomes: [], tone: toneOf(receipt) },
      session: receipt?.session ?? null,
    }));
    const byLeaf = new Map(entries.map((entry) => [entry.leaf, entry]));
    const sessions = new Map();
    for (const entry of entries) {
      const { receipt } = entry;
      if (receipt?.shape === "outcome") byLeaf.get(receipt.decision)?.outcomes.push(entry);
      if (!sessions.has(entry.session)) sessions.set(entry.session, { id: entry.session, start: null, end: null, entries: [] });
      const session = sessions.get(entry.session);
      session.entries.push(entry);
      if (receipt?.shape === "start") session.start ??= receipt;
      if (receipt?.shape === "end") session.end ??= receipt;
    }
    // The principals whose keys a statement names; null for a key that the registry does not have.
    const signersOf = (statement) => statement.record.signatures.map(({ key }) => checklist.registry?.keys.get(key)?.principal ?? null);
    return { entries, byLeaf, sessions: [...sessions.values()], holds: attachmentReader(checklist), signersOf };
  }

  function faultsByReceipt(report) {
    const faults = new Map();
    for (const finding of report.findings) {
      const [, index] = /^receipt ([0-9]+)$/.exec(finding.where) ?? [];
      if (index === undefined) continue;
      if (!faults.has(Number(index))) faults.set(Number(index), []);
      faults.get(Number(index)).push(finding);
    }
    return faults;
  }

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
    return shape === "hold" ? `the kernel holds a tool: ${receipt.reason}` : "the kernel recovers";
  }

  // What an attachment holds: {state: "here", text | bytes} | {state: "withheld" | "wrong"}.
  function attachmentReader(checklist) {
    return (name) => {
      const bytes = checklist.attachments?.get(name);
      if (!bytes) return { state: "withheld" };
      const salt = helm.attachments.SALT_BYTES;
      if (bytes.length < salt || helm.sha.digest(bytes) !== name) return { state: "wrong" };
      const content = bytes.subarray(salt);
      return { state: "here", text: helm.bytes.text(content), bytes: content.length };
    };
  }

  return { of, titleOf };
})();

// Each kind of receipt, field by field (receipt.md). A receipt that was read has every field of its kind and no other,
// so that whoever judges the story looks at values and never at forms.
helm.receipt = (() => {
  "use strict";
  const forms = helm.forms;
  const { digest, id, time, count, name, tool, yes, orNull, oneOf, listOf, names, counts, object, optional, malformed } = forms;
  const { reason, refusal } = helm.reasons;
  const { facts, clock, requirement, statements } = helm.facts;
  // What a freeze stops: everything, a server, a principal, or a session.
  const scope = forms.matching(/^(all|server:[a-z0-9][a-z0-9_-]{0,63}|agent:[!-~]{1,128}|session:[0-9a-f]{32})$/, "scope");

  const EVERY = {
    v: (value) => value, // judged with the record
    kind: (value) => value,
    log: name,
    session: id,
    seq: count,
    prev: digest,
    at: time,
    parents: listOf(digest),
    trust: object({ size: count, head: digest }),
    signers: listOf(forms.text),
    build: object({ version: name, insecure: optional(names) }),
  };

  const START = { event: oneOf("start", "end"), principal: name, door: name, client: orNull(name), policy: orNull(digest), catalog: orNull(digest) };
  const END = { event: oneOf("start", "end"), count, reason: name };
  const DECIDED = { sub: optional(name), facts, policy: orNull(digest), effect_by: oneOf("kernel", "client", "none") };
  const RAW = { ...DECIDED, raw_hash: digest, verdict: oneOf("DENY", "ALLOW", "ESCALATE"), reason: refusal };
  const DECISION = {
    ...DECIDED,
    tool,
    args_hash: digest,
    pin: optional(digest),
    effect: optional(oneOf("read", "write", "destructive", "network", "payment")),
    verdict: oneOf("ALLOW", "DENY", "ESCALATE"),
    reason,
    rules: optional(names),
    subject: optional(id),
    key: optional(digest),
    reserved: optional(counts),
    deadline_ms: optional(count),
    repeats: optional(digest),
    requires: optional(requirement),
    relies: optional(statements),
  };
  const OUTCOME = {
    decision: digest,
    status: oneOf("OK", "FAILED", "DRIFT", "UNKNOWN", "LATE", "REPORTED"),
    ms: count,
    output_hash: optional(digest),
    contract: optional(oneOf("schema", "shape", "question")),
    reason: optional(refusal),
    sub: optional(name),
    spent: optional(counts),
    tool_error: optional(yes),
    truncated: optional(yes),
    interim: optional(object({ count: forms.within(1, Number.MAX_SAFE_INTEGER), hash: digest })),
  };
  const KINDS = {
    start: [START, () => {}],
    end: [END, () => {}],
    raw: [RAW, checkRaw],
    decision: [DECISION, checkDecision],
    outcome: [OUTCOME, checkOutcome],
    statement: [{ statement: helm.statement.read, clock: optional(clock) }, checkStatement],
    hold: [{ tool: name, cause: optional(digest), reason: refusal, sub: optional(name) }, checkHold],
    freeze: [{ scope, by: optional(name), reason: refusal, sub: optional(name) }, checkFreeze],
    lapse: [{ call: digest, clock, reason }, ({ reason }) => demand(reason === "ERR_APPROVAL_EXPIRED", "a lapse with another reason")],
    gap: [{ door: name, counts: refusals }, () => {}],
    recovery: [{ size: count, root: digest, open: count, heads: optional(heads) }, () => {}],
  };

  // How many of each reason were only counted.
  function refusals(value, field) {
    for (const [word, many] of counts(value, field)) if (refusal(word, field) && many === 0) malformed(`\`${field}\` counts none of something`);
    return value;
  }

  const HEADS = listOf(forms.stringOf(0, 131072), 1, 2);

  // The newest checkpoints of another log, as they were found.
  function heads(value, field) {
    const [first, second] = HEADS(value, field);
    return first === second ? malformed("the same head twice") : value;
  }

  for (const kind of Object.values(KINDS)) kind[0] = object({ ...kind[0], ...EVERY });

  // The receipt of a line: its fields, its record, and what it is: `shape` is a key of KINDS.
  function read(line) {
    const record = helm.record.read(line);
    const shape = shapeOf(record);
    const [fields, check] = KINDS[shape];
    const receipt = { ...fields(record.body, "receipt"), shape, record };
    check(receipt);
    return receipt;
  }

  function shapeOf({ kind, body }) {
    oneOf("session", "decision", "outcome", "statement", "hold", "lapse", "gap", "recovery")(kind, "kind");
    if (kind === "session") return START.event(body.get("event"), "event");
    if (kind === "hold" && body.has("scope")) return "freeze";
    return kind === "decision" && body.has("raw_hash") ? "raw" : kind;
  }

  function demand(holds, what) {
    if (!holds) malformed(what);
  }

  function checkRaw(decision) {
    demand(decision.verdict === "DENY", "a request that nobody could read is not denied");
    demand(Object.keys(decision.facts).length === 1, "of a request that nobody could read nothing but the clock is read");
  }

  function checkStatement({ clock, statement }) {
    demand((clock !== undefined) === helm.statement.TIMED.includes(statement.kind), "`clock` is there exactly of what time counts from");
  }

  function checkHold({ reason, cause, sub }) {
    demand(reason !== "ERR_FROZEN", "a hold that is a freeze");
    demand((cause === undefined) !== (sub === undefined), "a hold without a cause, or with two");
  }

  // A person's, or the kernel's own, which is of a server.
  function checkFreeze({ reason, by, sub, scope }) {
    demand((by === undefined) !== (sub === undefined), "a freeze by nobody, or by two");
    demand((by !== undefined) === (reason === "ERR_FROZEN"), "a freeze with another reason");
    demand(by !== undefined || scope.startsWith("server:"), "the kernel froze more than a server");
  }

  // What somebody acts on, once: ALLOW with the reason OK, and no question.
  function goes(receipt) {
    return receipt.shape === "decision" && receipt.effect_by !== "none" && receipt.reason === "OK";
  }

  // An intent is what the kernel dispatches.
  function isIntent(receipt) {
    return goes(receipt) && receipt.effect_by === "kernel";
  }

  // An offer is what the client acts on.
  function isOffer(receipt) {
    return goes(receipt) && receipt.effect_by === "client";
  }

  function checkDecision(decision) {
    const allowed = decision.verdict === "ALLOW";
    demand(allowed === ["OK", "REPEATED"].includes(decision.reason), "verdict and reason do not go together");
    demand(("pin" in decision) === ("effect" in decision), "`effect` and `pin` go together");
    demand(!allowed || "pin" in decision, "an ALLOW has a `pin`");
    demand(isIntent(decision) === "deadline_ms" in decision, "`deadline_ms` is there exactly if it is an intent");
    demand(goes(decision) || !("reserved" in decision), "only a call that goes reserves");
    demand((decision.reason === "REPEATED") === "repeats" in decision, "`repeats` is there exactly if the reason is REPEATED");
    checkEscalated(decision);
  }

  function checkEscalated(decision) {
    const { verdict, reason, effect_by, facts } = decision;
    const [escalated, isCall] = [verdict === "ESCALATE", effect_by !== "none"];
    demand(!escalated || ["ERR_APPROVAL_REQUIRED", "ERR_APPROVAL_PENDING_TIMELOCK"].includes(reason), "an ESCALATE with another reason");
    demand(escalated || reason !== "ERR_APPROVAL_PENDING_TIMELOCK", "a timelock that nothing waits for");
    const held = escalated && isCall && "pin" in decision && reason === "ERR_APPROVAL_REQUIRED";
    demand(!("requires" in decision) || held, "only a call that is escalated is held");
    demand("requires" in decision || !escalated || !isCall || "approval" in facts, "an ESCALATE of a call that is not held");
    demand(goes(decision) || !("relies" in decision), "only a call that goes relies on what people said");
  }

  const UNKEPT = ["ERR_CONNECTOR_CONTRACT_DRIFT", "ERR_CONNECTOR_FAILED", "ERR_OUTCOME_UNKNOWN"];

  // The table of statuses: what each says about reason, output and contract.
  function checkOutcome(outcome) {
    const has = (field) => field in outcome;
    const { status, reason } = outcome;
    if (status === "OK") demand(!has("reason") && has("output_hash") && has("contract"), "an OK that is none");
    if (status === "FAILED") demand(!has("output_hash") && !has("contract"), "a FAILED with an output");
    if (status === "DRIFT") demand(reason === "ERR_CONNECTOR_CONTRACT_DRIFT" && has("output_hash") && !has("contract"), "a DRIFT that is none");
    if (status === "UNKNOWN") demand(reason === "ERR_OUTCOME_UNKNOWN" && !has("contract"), "an UNKNOWN that is none");
    if (status === "REPORTED") demand(has("contract") ? !has("reason") : UNKEPT.includes(reason), "a REPORTED that neither keeps its contract nor says why not");
    if (reason === "ERR_CONNECTOR_CONTRACT_DRIFT" && status === "REPORTED") demand(has("output_hash"), "a REPORTED that broke its contract, and no output");
    demand(status !== "REPORTED" || !has("contract") || !has("truncated"), "a REPORTED that was cut, and kept its contract");
    demand(!has("interim") || status !== "LATE", "`interim` with LATE");
    demand(!has("contract") || (has("output_hash") && !has("reason")), "a contract that nothing kept");
    demand(!has("tool_error") || has("contract"), "`tool_error` without `contract`");
    demand(!has("truncated") || !["OK", "FAILED"].includes(status), "`truncated` with " + status);
    demand(!has("sub") || has("reason"), "`sub` without `reason`");
  }

  // The attachments that a receipt names.
  function attachmentsOf(receipt) {
    return [receipt.args_hash, receipt.raw_hash, receipt.key, receipt.output_hash].filter((name) => name !== undefined);
  }

  // The causes of V9 in their order, and as what each is named: Map of leaf -> link of the ProofGraph.
  function causesOf(receipt) {
    const { facts, statement } = receipt;
    const named = [
      ...[[receipt.decision, "outcome"], [receipt.repeats, "repeat"], [receipt.cause, "hold"]],
      ...[[facts?.hold, "held"], [facts?.frozen, "held"], [facts?.approval?.call, "asked"], [receipt.call, "asked"]],
      ...[[statement?.hold, "release"], [statement?.call, "asked"], [statement?.grant, "revoked"]],
      ...(receipt.relies ?? []).map((leaf) => [leaf, "approval"]),
    ];
    const links = new Map(receipt.parents.map((leaf) => [leaf, "cause"]));
    for (const [leaf, link] of named) if (leaf !== undefined) links.set(leaf, link);
    return links;
  }

  return { read, goes, isIntent, isOffer, attachmentsOf, causesOf };
})();

// Each kind of receipt, field by field (receipt.md). A receipt that was read has every field of its kind and no other,
// so that whoever judges the story looks at values and never at forms.
helm.receipt = (() => {
  "use strict";
  const forms = helm.forms;
  const { digest, id, time, count, name, tool, bool, yes, orNull, oneOf, listOf, names, counts, object, optional, malformed } = forms;

  const REASONS = [
    ...["OK", "REPEATED", "ERR_TOOL_NOT_ALLOWED", "ERR_POLICY_DENY", "ERR_POLICY_ERROR", "ERR_POLICY_NOT_READY"],
    ...["ERR_UNAUTHENTICATED", "ERR_RATE_LIMITED", "ERR_HTTP_AMBIGUOUS", "ERR_REQUEST_BOUNDS", "ERR_BODY_ENCODING"],
    ...["ERR_HOST_FORBIDDEN", "ERR_ORIGIN_FORBIDDEN", "ERR_UNMEDIATED_TRANSPORT"],
    ...["ERR_JSON_NOT_IJSON", "ERR_UPSTREAM_SHAPE", "ERR_SCHEMA_VIOLATION", "ERR_SCHEMA_UNSAFE", "ERR_SCHEMA_BUDGET"],
    ...["ERR_MCP_SCHEMA_DRIFT", "ERR_CONNECTOR_CONTRACT_DRIFT", "ERR_CONNECTOR_FAILED", "ERR_EGRESS_DENIED"],
    ...["ERR_APPROVAL_REQUIRED", "ERR_APPROVAL_PENDING_TIMELOCK", "ERR_APPROVAL_DENIED", "ERR_APPROVAL_EXPIRED"],
    ...["ERR_APPROVAL_CHALLENGE", "ERR_APPROVAL_SELF", "ERR_CLOCK_UNTRUSTED", "ERR_FROZEN"],
    ...["ERR_APPROVAL_KEY_ROLE", "ERR_APPROVAL_SIGNATURE", "ERR_APPROVAL_CONSUMED", "ERR_APPROVAL_INTENT_MISMATCH"],
    ...["ERR_IDEMPOTENCY_MISMATCH", "ERR_IDEMPOTENCY_IN_FLIGHT", "ERR_IDEMPOTENCY_KEY_REQUIRED", "ERR_OUTCOME_UNKNOWN"],
    ...["ERR_BUDGET_EXHAUSTED", "ERR_TOOL_HALTED", "ERR_EVIDENCE_UNAVAILABLE", "ERR_EVIDENCE_FULL"],
    ...["ERR_SIGNER_UNAVAILABLE", "ERR_STORE_CORRUPT", "ERR_STORE_LOCKED", "ERR_STORE_ROLLBACK", "ERR_SEALED"],
    ...["ERR_SESSION_ENDED"],
  ];
  const reason = oneOf(...REASONS);

  function refusal(value, field) {
    return ["OK", "REPEATED"].includes(reason(value, field)) ? malformed(`\`${field}\` is no refusal`) : value;
  }

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

  const FACTS = object({
    clock: object({ wall_ms: count, boot: id, boot_ms: count }),
    hold: optional(digest),
    claim: optional(object({ decision: digest, state: oneOf("open", "done", "unknown"), same_args: bool })),
    budget: optional(counts),
  });

  const START = { event: oneOf("start", "end"), principal: name, door: name, client: orNull(name), policy: orNull(digest), catalog: orNull(digest) };
  const END = { event: oneOf("start", "end"), count, reason: name };
  const DECIDED = { sub: optional(name), facts: FACTS, policy: orNull(digest), effect_by: oneOf("kernel") };
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
  };
  const OUTCOME = {
    decision: digest,
    status: oneOf("OK", "FAILED", "DRIFT", "UNKNOWN", "LATE"),
    ms: count,
    output_hash: optional(digest),
    contract: optional(oneOf("schema", "shape")),
    reason: optional(refusal),
    sub: optional(name),
    spent: optional(counts),
    tool_error: optional(yes),
    truncated: optional(yes),
  };
  const KINDS = {
    start: [START, () => {}],
    end: [END, () => {}],
    raw: [RAW, checkRaw],
    decision: [DECISION, checkDecision],
    outcome: [OUTCOME, checkOutcome],
    statement: [{ statement: helm.statement.read }, () => {}],
    hold: [{ tool: name, cause: digest, reason: refusal }, () => {}],
    recovery: [{ size: count, root: digest, open: count, heads: optional(heads) }, () => {}],
  };
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
    oneOf("session", "decision", "outcome", "statement", "hold", "recovery")(kind, "kind");
    if (kind === "session") return START.event(body.get("event"), "event");
    return kind === "decision" && body.has("raw_hash") ? "raw" : kind;
  }

  function demand(holds, what) {
    if (!holds) malformed(what);
  }

  function checkRaw(decision) {
    demand(decision.verdict === "DENY", "a request that nobody could read is not denied");
  }

  // An intent is what dispatches: ALLOW with the reason OK.
  function isIntent(receipt) {
    return receipt.shape === "decision" && receipt.reason === "OK";
  }

  function checkDecision(decision) {
    const allowed = decision.verdict === "ALLOW";
    demand(allowed === ["OK", "REPEATED"].includes(decision.reason), "verdict and reason do not go together");
    demand(("pin" in decision) === ("effect" in decision), "`effect` and `pin` go together");
    demand(!allowed || "pin" in decision, "an ALLOW has a `pin`");
    demand(isIntent(decision) === "deadline_ms" in decision, "`deadline_ms` is there exactly if it is an intent");
    demand(isIntent(decision) || !("reserved" in decision), "only an intent reserves");
    demand((decision.reason === "REPEATED") === "repeats" in decision, "`repeats` is there exactly if the reason is REPEATED");
  }

  // The table of statuses: what each says about reason, output and contract.
  function checkOutcome(outcome) {
    const has = (field) => field in outcome;
    const { status, reason } = outcome;
    if (status === "OK") demand(!has("reason") && has("output_hash") && has("contract"), "an OK that is none");
    if (status === "FAILED") demand(!has("output_hash") && !has("contract"), "a FAILED with an output");
    if (status === "DRIFT") demand(reason === "ERR_CONNECTOR_CONTRACT_DRIFT" && has("output_hash") && !has("contract"), "a DRIFT that is none");
    if (status === "UNKNOWN") demand(reason === "ERR_OUTCOME_UNKNOWN" && !has("contract"), "an UNKNOWN that is none");
    demand(!has("contract") || (has("output_hash") && !has("reason")), "a contract that nothing kept");
    demand(!has("tool_error") || has("contract"), "`tool_error` without `contract`");
    demand(!has("truncated") || !["OK", "FAILED"].includes(status), "`truncated` with " + status);
    demand(!has("sub") || has("reason"), "`sub` without `reason`");
  }

  // The attachments that a receipt names.
  function attachmentsOf(receipt) {
    return [receipt.args_hash, receipt.raw_hash, receipt.key, receipt.output_hash].filter((name) => name !== undefined);
  }

  // The causes of V9.
  function causesOf(receipt) {
    const named = [receipt.decision, receipt.repeats, receipt.facts?.hold, receipt.cause, receipt.statement?.hold];
    return [...receipt.parents, ...named].filter((leaf) => leaf !== undefined);
  }

  return { read, isIntent, attachmentsOf, causesOf };
})();

// What people sign (statement.md). Here is the form; who may sign and what it changes is judged where the log is read.
helm.statement = (() => {
  "use strict";
  const { orNull, object, digest, time, id, count, stringOf, tool, oneOf, listOf, text, yes, within, number, malformed } = helm.forms;
  const { WAIT_MS_MAX } = helm.facts;

  const LOG_MAX = 4096; // its receipt's, or else it is for another log
  const CONDITIONS_MAX = 64;
  const CALLS_MAX = 1_000_000;
  const TIMED = ["approval", "override", "grant"]; // from which time counts

  const kind = oneOf("activation", "pin", "release", "erasure", "approval", "override", "grant", "revocation");
  const EVERY = { v: (value) => value, kind, log: stringOf(0, LOG_MAX), at: time, nonce: id, signers: listOf(text) };
  const change = object({ from: orNull(digest), to: digest });
  const CHANGE = object({ ...EVERY, policy: change, catalog: change });
  const FIELDS = {
    activation: CHANGE,
    pin: CHANGE,
    release: (body, where) => (body.has("scope") ? FREEZE : HOLD)(body, where),
    erasure: object({ ...EVERY, subject: id, count }),
    approval: object({ ...EVERY, call: digest, intent: digest, decision: word, confirmation: digest }),
    override: object({ ...EVERY, call: digest, intent: digest }),
    grant: object({ ...EVERY, principal: tool, tool, pin: digest, where: conditions, calls: within(1, CALLS_MAX), lasts_ms: within(1, WAIT_MS_MAX) }),
    revocation: object({ ...EVERY, grant: digest }),
  };
  const HOLD = object({ ...EVERY, tool, hold: digest });
  const FREEZE = object({ ...EVERY, scope: tool, hold: digest });

  // What an approver says.
  function word(value, field) {
    const said = oneOf("approve", "deny", "dispute", "withdraw", "override")(value, field);
    return said === "override" ? malformed("an approval overrides nothing") : said;
  }

  const CONDITIONS = {
    any: yes,
    equals: (value) => value,
    one_of: listOf((value) => value, 1, CONDITIONS_MAX),
    at_most: number,
    at_least: number,
    starts_with: (value, field) => text(value, field) || malformed(`\`${field}\` is empty`),
  };

  // Whether arguments are so is for a replay to ask: here each is one condition of a kind that is known.
  function conditions(value, field) {
    if (!(value instanceof Map) || value.size > CONDITIONS_MAX) malformed(`\`${field}\` is no object of at most ${CONDITIONS_MAX}`);
    for (const condition of value.values()) {
      if (!(condition instanceof Map) || condition.size !== 1) malformed(`\`${field}\` has what is not one condition`);
      const [[name, operand]] = condition;
      CONDITIONS[oneOf(...Object.keys(CONDITIONS))(name, field)](operand, name);
    }
    return value;
  }

  // {record, kind, log, nonce, …} of a record's value inside a receipt.
  function read(value) {
    const record = helm.record.nested(value);
    EVERY.kind(record.kind, "kind");
    const fields = FIELDS[record.kind](record.body, "statement");
    return { ...fields, record };
  }

  return { read, TIMED };
})();

// What people sign (statement.md): pins, activations, releases, erasures. Here is the form; who may sign and what it changes is
// judged where the log is read.
helm.statement = (() => {
  "use strict";
  const { orNull, object, digest, time, id, count, stringOf, tool, oneOf, listOf, text } = helm.forms;

  const LOG_MAX = 4096; // its receipt's, or else it is for another log

  const EVERY = { v: (value) => value, kind: oneOf("activation", "pin", "release", "erasure"), log: stringOf(0, LOG_MAX), at: time, nonce: id, signers: listOf(text) };
  const change = object({ from: orNull(digest), to: digest });
  const CHANGE = object({ ...EVERY, policy: change, catalog: change });
  const FIELDS = { activation: CHANGE, pin: CHANGE, release: object({ ...EVERY, tool, hold: digest }), erasure: object({ ...EVERY, subject: id, count }) };

  // {record, kind, log, nonce, …} of a record's value inside a receipt.
  function read(value) {
    const record = helm.record.nested(value);
    EVERY.kind(record.kind, "kind");
    const fields = FIELDS[record.kind](record.body, "statement");
    return { ...fields, record };
  }

  return { read };
})();

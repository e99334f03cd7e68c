// What people sign (statement.md): pins, activations, releases. Here is the form; who may sign and what it changes is
// judged where the log is read.
helm.statement = (() => {
  "use strict";
  const { orNull, object, digest, time, id, stringOf, tool, oneOf, listOf, text } = helm.forms;

  const LOG_MAX = 4096; // its receipt's, or else it is for another log

  const EVERY = { v: (value) => value, kind: oneOf("activation", "pin", "release"), log: stringOf(0, LOG_MAX), at: time, nonce: id, signers: listOf(text) };
  const change = object({ from: orNull(digest), to: digest });
  const CHANGE = object({ ...EVERY, policy: change, catalog: change });
  const RELEASE = object({ ...EVERY, tool, hold: digest });

  // {record, kind, log, nonce, …} of a record's value inside a receipt.
  function read(value) {
    const record = helm.record.nested(value);
    EVERY.kind(record.kind, "kind");
    const fields = (record.kind === "release" ? RELEASE : CHANGE)(record.body, "statement");
    return { ...fields, record };
  }

  return { read };
})();

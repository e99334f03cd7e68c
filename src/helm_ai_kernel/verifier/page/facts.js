// What a decision was made from (receipt.md, Facts), and what a held call waits for (approval.md, Values): their forms.
helm.facts = (() => {
  "use strict";
  const { digest, id, count, yes, bool, text, oneOf, listOf, counts, object, optional, ascending, distinct, within, malformed } = helm.forms;
  const APPROVERS_MAX = 16; // more than any quorum that people keep
  const WAIT_MS_MAX = 366 * 86_400_000; // a wait of more than a year is a mistake
  const NAMES_MAX = 64;

  const people = (most) => (value, field) => ascending(listOf(text, 1, most)(value, field), field);
  const statements = (value, field) => distinct(listOf(digest, 1, APPROVERS_MAX)(value, field), field);
  const clock = object({ wall_ms: count, boot: id, boot_ms: count });
  const requirement = object({
    approvers: within(1, APPROVERS_MAX),
    timelock_ms: within(0, WAIT_MS_MAX),
    expires_ms: within(1, WAIT_MS_MAX),
    not_by: optional(people(NAMES_MAX)),
  });

  const HELD = object({
    at: clock,
    call: digest,
    requires: requirement,
    state: oneOf("waiting", "complete", "overridden", "denied"),
    since: optional(clock),
    statements: optional(statements),
    disputed: optional(yes),
  });

  function held(value, field) {
    const read = HELD(value, field);
    if (["complete", "overridden"].includes(read.state) !== "since" in read) malformed("`since` is there exactly in the states `complete` and `overridden`");
    if (read.state !== "waiting" && !read.statements) malformed("nothing is decided of a held call without a statement");
    return read;
  }

  const facts = object({
    clock,
    hold: optional(digest),
    claim: optional(object({ decision: digest, state: oneOf("open", "done", "unknown"), same_args: bool })),
    budget: optional(counts),
    frozen: optional(digest),
    approval: optional(held),
    grant: optional(object({ by: people(APPROVERS_MAX), left: within(1, Number.MAX_SAFE_INTEGER), since: clock, statement: digest })),
    not_by: optional(people(NAMES_MAX)),
    alone: optional(yes),
    crowded: optional(yes),
  });

  return { facts, clock, requirement, statements, APPROVERS_MAX, WAIT_MS_MAX };
})();

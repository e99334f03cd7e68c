// Who signed a receipt, and the statement inside it (V5, V11): keys come from the registry at the size that the receipt
// relies on, and never from the pack's own word. `seen`: when witnesses saw the receipt, or null. Each function throws
// the first Fault that there is.
helm.signers = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const SIGNERS_MAX = 16;
  const MAY = { approval: ["approval"], grant: ["approval"], override: ["root"] }; // others: anybody's of a person

  // V5
  async function ofReceipt({ record, trust, log }, registry, seen) {
    if (record.signatures.length !== 1) throw new Fault("SIG_INVALID", "a receipt has more than one signature");
    const [signature] = record.signatures;
    const [key] = helm.registry.keysAt(registry, [signature.key], trust.size, seen);
    await helm.record.verify(record, signature, key);
    if (key.purpose !== "execution") throw new Fault("KEY_ROLE", `a receipt is signed with a key for \`${key.purpose}\``);
    if (key.log !== log) throw new Fault("DOMAIN_MISMATCH", `a receipt of \`${log}\` is signed with the key of \`${key.log}\``);
  }

  // V11: every signature counts, also one that nobody needed, and neither too few sign nor too many. Without a registry
  // only the log is asked about.
  async function ofStatement({ statement, trust, log }, registry, seen) {
    if (statement.log !== log) throw new Fault("DOMAIN_MISMATCH", `a statement is for the log \`${statement.log}\``);
    if (!registry) return;
    const { signatures } = statement.record;
    const keys = helm.registry.keysAt(registry, signatures.map(({ key }) => key), trust.size, seen);
    const may = MAY[statement.kind] ?? helm.keys.PEOPLES;
    const wrong = keys.find((key) => !may.includes(key.purpose));
    if (wrong) throw new Fault("KEY_ROLE", `a statement \`${statement.kind}\` is signed with a key for \`${wrong.purpose}\``);
    for (const [at, key] of keys.entries()) await helm.record.verify(statement.record, signatures[at], key);
    const most = statement.kind === "approval" ? 1 : SIGNERS_MAX;
    const least = statement.kind === "override" ? registry.thresholdAt(trust.size) : 1;
    if (keys.length > most || helm.events.holders(keys) < least) throw new Fault("APPROVAL_INVALID", `a statement \`${statement.kind}\` is signed by ${keys.length} keys, of too few people or of too many`);
  }

  return { ofReceipt, ofStatement };
})();

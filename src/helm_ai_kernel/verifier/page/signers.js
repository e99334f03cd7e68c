// Who signed a receipt, and the statement inside it (V5, V11): keys come from the registry at the size that the receipt
// relies on, and never from the pack's own word. Each function gives faults: [[step, code, detail], …].
helm.signers = (() => {
  "use strict";
  const { caught } = helm.findings;

  // V5
  async function ofReceipt({ record, trust, log }, registry) {
    if (record.signatures.length !== 1) return [[5, "SIG_INVALID", "a receipt has more than one signature"]];
    const [signature] = record.signatures;
    const key = registry.keyAt(signature.key, trust.size);
    if (!key) return [[5, "KEY_UNKNOWN", unknown(signature, trust)]];
    const faults = await verified(5, record, signature, key);
    if (key.purpose !== "execution") faults.push([5, "KEY_ROLE", `a receipt is signed with a key for \`${key.purpose}\``]);
    else if (key.log !== log) faults.push([5, "DOMAIN_MISMATCH", `a receipt of \`${log}\` is signed with the key of \`${key.log}\``]);
    return faults;
  }

  // V11: every signature counts, also one that nobody needed.
  async function ofStatement({ statement, trust, log }, registry) {
    const faults = [];
    if (statement.log !== log) faults.push([11, "DOMAIN_MISMATCH", `a statement is for the log \`${statement.log}\``]);
    for (const signature of statement.record.signatures) {
      const key = registry.keyAt(signature.key, trust.size);
      if (!key) faults.push([11, "KEY_UNKNOWN", unknown(signature, trust)]);
      else if (!helm.keys.PEOPLES.includes(key.purpose)) faults.push([11, "KEY_ROLE", `a statement is signed with a key for \`${key.purpose}\``]);
      else faults.push(...(await verified(11, statement.record, signature, key)));
    }
    return faults;
  }

  function unknown(signature, trust) {
    return `key \`${signature.key}\` is not in the registry at size ${trust.size}`;
  }

  async function verified(step, record, signature, key) {
    const faults = [];
    await helm.record.verify(record, signature, key).catch(caught(({ code, message }) => faults.push([step, code, message])));
    return faults;
  }

  return { ofReceipt, ofStatement };
})();

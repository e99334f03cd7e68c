// V12: what receipts name and the pack holds, or says that it withholds (receipt.md, Attachments).
helm.attachments = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const SALT_BYTES = 32;
  const ARGUMENTS_BYTES_MAX = 4 << 20;

  // The attachments of a pack: digest that the name says -> bytes.
  function of(entries) {
    const held = new Map();
    for (const [name, bytes] of entries) {
      if (name.startsWith("attachments/")) held.set("sha256:" + name.slice("attachments/".length), bytes);
    }
    return held;
  }

  // `whole` is false behind a receipt that nobody can read: then nobody knows all the names.
  function check(held, receipts, withheld, whole, found) {
    const mismatch = (what) => found(new Fault("REDACTION_MISMATCH", what));
    const named = new Set(receipts.flatMap(helm.receipt.attachmentsOf));
    const inputs = new Set(receipts.map((receipt) => receipt.args_hash));
    for (const [name, bytes] of held) {
      if (helm.sha.digest(bytes) !== name) mismatch(`attachment \`${name}\` has another digest`);
      else if (bytes.length < SALT_BYTES) mismatch(`attachment \`${name}\` has no salt`);
      else if (whole && inputs.has(name) && !areArguments(bytes)) mismatch(`attachment \`${name}\` is not one canonical object`);
      if (whole && !named.has(name)) mismatch(`no receipt names attachment \`${name}\``);
    }
    if (!whole) return;
    const absent = [...named].filter((name) => !held.has(name)).sort();
    if (String(absent) !== String(withheld)) mismatch("`withheld` is not exactly what receipts name and the pack does not hold, sorted");
  }

  function areArguments(bytes) {
    try {
      return helm.json.readCanonical(bytes.subarray(SALT_BYTES), ARGUMENTS_BYTES_MAX) instanceof Map;
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return false;
    }
  }

  return { of, check, SALT_BYTES };
})();

// V14, a known head: a checkpoint that the verifier kept, against the pack. One that is none, or is of another log, is
// a wrong question (exit 64); one that is signed and contradicts the pack is the only thing that finds a history that
// somebody with the real keys wrote again.
helm.head = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const KEPT = ""; // before all times: what the verifier kept itself needs no witness for when it was there
  const USAGE = { exit: 64 };
  const STALE = { exit: 25 };
  const DIVERGED = { exit: 30 };

  // True if there was something to compare with, and it is part of the pack. `found` takes (code, detail, {exit}).
  async function compare(bytes, checklist, found) {
    const { manifest, registry, policy, reliance } = checklist;
    let head;
    try {
      head = helm.checkpoint.read(bytes);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return found(fault.code, fault.message, USAGE), false;
    }
    await checkCosigned(head, policy, found);
    if (head.origin !== manifest.log) return found("DOMAIN_MISMATCH", `the known head is of the log \`${head.origin}\``, USAGE), false;
    if (!registry) return false; // nobody can say who signed it
    try {
      await helm.checkpoint.verify(head, registry, reliance.largestUnder(head.size), KEPT);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return found(fault.code, fault.message), false; // what nobody of this log signed contradicts nothing
    }
    return extendedBy(head, checklist.here(), found);
  }

  // V16. What the log signed is there, whatever a witness's line beside it is.
  async function checkCosigned(head, policy, found) {
    try {
      await helm.witness.timesOf(head, policy);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      found(fault.code, fault.message, USAGE);
    }
  }

  // `here`: {size, rootAt(size) -> bytes, or null where nobody can say}.
  function extendedBy(head, here, found) {
    if (head.size > here.size) return found("ROLLBACK", `the known head signs ${head.size} receipts, and the pack ${here.size}`, STALE), false;
    const root = here.rootAt(head.size);
    const { hex, equal } = helm.bytes;
    if (root === null) return false;
    if (equal(head.root, root)) return head.size > 0; // every log has a head of size 0: it proves nothing
    return found("SPLIT_VIEW", `at size ${head.size} the known head has root sha256:${hex(head.root)}, the pack sha256:${hex(root)}`, DIVERGED), false;
  }

  return { compare };
})();

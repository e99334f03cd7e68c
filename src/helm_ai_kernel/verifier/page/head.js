// V14, the known head: a checkpoint that the verifier kept, against the pack. One that is none, or is of another log, is
// a wrong question (exit 64); one that is signed and contradicts the pack is the only thing that finds a history that
// somebody with the real keys wrote again.
helm.head = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const USAGE = 64;
  const STALE = 25;
  const DIVERGED = 30;

  // True if there was something to compare with, and it is part of the pack. `found` takes (code, detail, exit).
  async function compare(bytes, log, registry, pack, found) {
    let head;
    try {
      head = helm.checkpoint.read(bytes);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return found(fault.code, fault.message, USAGE), false;
    }
    if (head.origin !== log) return found("DOMAIN_MISMATCH", `the known head is of the log \`${head.origin}\``, USAGE), false;
    if (!registry) return false; // nobody can say who signed it
    try {
      await helm.checkpoint.verify(head, registry, pack.inOrder());
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return found(fault.code, fault.message), false; // what nobody of this log signed contradicts nothing
    }
    return extendedBy(head, pack.tree, found);
  }

  function extendedBy(head, tree, found) {
    if (head.size > tree.size) return found("ROLLBACK", `the known head signs ${head.size} receipts, and ${tree.size} are here`, STALE), false;
    const here = tree.rootAt(head.size);
    const { hex, equal } = helm.bytes;
    if (equal(head.root, here)) return head.size > 0; // every log has a head of size 0: it proves nothing
    return found("SPLIT_VIEW", `at size ${head.size} the known head has root sha256:${hex(head.root)}, the pack sha256:${hex(here)}`, DIVERGED), false;
  }

  return { compare };
})();

// V14, the known head: a checkpoint that the verifier kept, against the pack. One that is none, or is of another log, is
// a wrong question (exit 64); one that is signed and contradicts the pack is the only thing that finds a history that
// somebody with the real keys wrote again.
helm.head = (() => {
  "use strict";
  const { caught } = helm.findings;
  const USAGE = 64;
  const STALE = 25;
  const DIVERGED = 30;

  // True if there was something to compare with. `found` takes (code, detail, exit).
  async function compare(bytes, log, registry, tree, found) {
    const head = attempted(() => helm.checkpoint.read(bytes), ({ code, message }) => found(code, message, USAGE));
    if (!head) return false;
    if (head.origin !== log) return found("DOMAIN_MISMATCH", `the known head is of the log \`${head.origin}\``, USAGE), false;
    let signed = true;
    await helm.checkpoint.verify(head, registry).catch(caught(({ code, message }) => ((signed = false), found(code, message))));
    if (signed) against(head, tree, found);
    return signed; // what nobody of this log signed contradicts nothing
  }

  function attempted(work, found) {
    try {
      return work();
    } catch (fault) {
      caught(found)(fault);
      return null;
    }
  }

  function against(head, tree, found) {
    if (head.size > tree.size) return found("ROLLBACK", `the known head signs ${head.size} receipts, and ${tree.size} are here`, STALE);
    const here = tree.rootAt(head.size);
    if (helm.bytes.equal(head.root, here)) return;
    const { hex } = helm.bytes;
    found("SPLIT_VIEW", `at size ${head.size} the known head has root sha256:${hex(head.root)}, the pack sha256:${hex(here)}`, DIVERGED);
  }

  return { compare };
})();

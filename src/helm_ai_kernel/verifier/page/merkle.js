// The RFC 6962 Merkle tree over the lines of a log (log.md). The nodes of all perfect subtrees are kept, 32 bytes each,
// so that the root at every earlier size costs a logarithm: a recovery and a known head ask for them.
helm.merkle = (() => {
  "use strict";
  const LEAF = Uint8Array.of(0);
  const NODE = Uint8Array.of(1);

  function leafHash(line) {
    return new helm.sha.Hash().add(LEAF).add(line).end();
  }

  function leafDigest(line) {
    return "sha256:" + helm.bytes.hex(leafHash(line));
  }

  function node(left, right) {
    return new helm.sha.Hash().add(NODE).add(left).add(right).end();
  }

  function largestPowerBelow(count) {
    let power = 1;
    while (2 * power < count) power *= 2;
    return power;
  }

  class Tree {
    // `leaves`: rows to which somebody else adds, and says so.
    constructor(leaves) {
      this.levels = [leaves]; // levels[n], row k: the root of the 2^n leaves from k * 2^n on
    }

    get size() {
      return this.levels[0].size;
    }

    // The last leaf is new.
    appended() {
      for (let n = 0; this.levels[n].size % 2 === 0; n++) {
        const { size } = this.levels[n];
        this.levels[n + 1] ??= new helm.column.Rows(32);
        this.levels[n + 1].push(node(this.levels[n].at(size - 2), this.levels[n].at(size - 1)));
      }
    }

    // The root that the tree had at a size that is not beyond its own.
    rootAt(size) {
      if (size === 0) return helm.sha.sha256(new Uint8Array());
      let root = null;
      for (let n = 0, rest = size; rest; n++, rest = Math.floor(rest / 2)) {
        if (rest % 2 === 0) continue;
        const subtree = this.levels[n].at(rest - 1);
        root = root ? node(subtree, root) : subtree;
      }
      return root;
    }
  }

  return { Tree, leafHash, leafDigest, node, largestPowerBelow };
})();

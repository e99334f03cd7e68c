// The RFC 6962 Merkle tree over the lines of a log (log.md). The nodes of all perfect subtrees of 16 leaves and more are
// kept, two bytes a leaf, so that the root at every earlier size costs a logarithm and at most fifteen hashes: a recovery
// and a known head ask for them.
helm.merkle = (() => {
  "use strict";
  const LEAF = Uint8Array.of(0);
  const NODE = Uint8Array.of(1);
  const BUNCH = 16; // leaves whose inner nodes are not kept

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
      this.leaves = leaves;
      this.levels = [new helm.column.Rows(32)]; // levels[n], row k: the root of the 16 * 2^n leaves from 16k * 2^n on
    }

    get size() {
      return this.leaves.size;
    }

    // The last leaf is new.
    appended() {
      const { size, levels } = this;
      if (size % BUNCH) return;
      levels[0].push(this.rootOf(size - BUNCH, size));
      for (let n = 0; levels[n].size % 2 === 0; n++) {
        const count = levels[n].size;
        levels[n + 1] ??= new helm.column.Rows(32);
        levels[n + 1].push(node(levels[n].at(count - 2), levels[n].at(count - 1)));
      }
    }

    // The root that the tree had at a size that is not beyond its own.
    rootAt(size) {
      if (size === 0) return helm.sha.sha256(new Uint8Array());
      const few = size % BUNCH;
      let root = few ? this.rootOf(size - few, size) : null;
      for (let n = 0, rest = (size - few) / BUNCH; rest; n++, rest = Math.floor(rest / 2)) {
        if (rest % 2 === 0) continue;
        const subtree = this.levels[n].at(rest - 1);
        root = root ? node(subtree, root) : subtree;
      }
      return root;
    }

    // Of a few leaves.
    rootOf(from, to) {
      if (to - from === 1) return this.leaves.at(from);
      const middle = from + largestPowerBelow(to - from);
      return node(this.rootOf(from, middle), this.rootOf(middle, to));
    }
  }

  return { Tree, leafHash, leafDigest, node, largestPowerBelow };
})();

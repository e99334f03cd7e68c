// The RFC 6962 Merkle tree over the lines of a log (log.md). The nodes of all perfect subtrees are kept, so that the
// root at every earlier size costs a logarithm: a recovery and a known head ask for them.
helm.merkle = (() => {
  "use strict";
  const LEAF = Uint8Array.of(0);
  const NODE = Uint8Array.of(1);

  function leafHash(line) {
    return helm.sha.sha256(helm.bytes.join(LEAF, line));
  }

  function leafDigest(line) {
    return "sha256:" + helm.bytes.hex(leafHash(line));
  }

  function node(left, right) {
    return helm.sha.sha256(helm.bytes.join(NODE, left, right));
  }

  class Tree {
    constructor() {
      this.levels = [[]]; // levels[n][k]: the root of the 2^n leaves from k * 2^n on
    }

    get size() {
      return this.levels[0].length;
    }

    append(leaf) {
      this.levels[0].push(leaf);
      for (let n = 0; this.levels[n].length % 2 === 0; n++) {
        this.levels[n + 1] ??= [];
        this.levels[n + 1].push(node(...this.levels[n].slice(-2)));
      }
    }

    // The root that the tree had at a size that is not beyond its own.
    rootAt(size) {
      if (size === 0) return helm.sha.sha256(new Uint8Array());
      let root = null;
      for (let n = 0, rest = size; rest; n++, rest = Math.floor(rest / 2)) {
        if (rest % 2 === 0) continue;
        const subtree = this.levels[n][rest - 1];
        root = root ? node(subtree, root) : subtree;
      }
      return root;
    }
  }

  return { Tree, leafHash, leafDigest };
})();

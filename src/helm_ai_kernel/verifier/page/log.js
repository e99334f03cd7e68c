// The receipts as far as they are kept: where each line lies, the digest of it, and the tree over them. Leaves are
// compared as numbers from here on: that of the first line with that leaf, or a negative one of a leaf that no line here
// has. So are sessions, tools and other names: two are the same if their numbers are.
helm.log = (() => {
  "use strict";
  const { Table } = helm.table;
  const { Column } = helm.column;

  class Log {
    // `part`: which places of the log the lines have (part.js).
    constructor(part) {
      this.part = part;
      this.leaves = new Table(32);
      this.tree = new helm.merkle.Tree(this.leaves.rows);
      this.starts = new Column(Float64Array); // where each line begins; it ends before the next one
      this.strangers = new Table(32);
      this.sessions = new Table(16);
      this.names = new Table(32); // by their digests
    }

    get size() {
      return this.leaves.size;
    }

    append({ at, length }, hash) {
      this.starts.set(this.size, at);
      this.starts.set(this.size + 1, at + length + 1);
      this.leaves.push(hash);
      this.tree.appended();
    }

    // Where a line lies in the pack.
    lineAt(index) {
      const at = this.starts.get(index);
      return { at, size: this.starts.get(index + 1) - at - 1 };
    }

    // What a digest names: the index of the first line with that leaf; -1 where none is here.
    find(leaf) {
      return this.leaves.find(bytesOf(leaf));
    }

    idOf(leaf) {
      const bytes = bytesOf(leaf);
      const here = this.leaves.find(bytes);
      return here < 0 ? -1 - this.strangers.idOf(bytes) : here;
    }

    leafOf(index) {
      return "sha256:" + helm.bytes.hex(this.leaves.rows.at(index));
    }

    sessionOf(session) {
      return this.sessions.idOf(helm.bytes.unhex(session));
    }

    nameOf(text) {
      return this.names.idOf(helm.sha.sha256(helm.bytes.utf8(text)));
    }

    // A receipt among the others: numbers only.
    spot(index, receipt) {
      const id = this.leaves.find(this.leaves.rows.at(index));
      return { index, place: this.part.placeOf(index), id, session: this.sessionOf(receipt.session), prev: this.idOf(receipt.prev) };
    }
  }

  // The bytes of a digest in the form that receipts have.
  function bytesOf(digest) {
    return helm.bytes.unhex(digest.slice("sha256:".length));
  }

  return { Log, bytesOf };
})();

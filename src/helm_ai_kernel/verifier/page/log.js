// The receipts as far as they are kept: where each line lies, the digest of it, and the tree over them. Leaves are
// compared as numbers from here on: that of the first line with that leaf, or a negative one of a leaf that no line here
// has. So are sessions, tools and other names: two are the same if their numbers are.
helm.log = (() => {
  "use strict";
  const { Table } = helm.table;
  const { Column } = helm.column;
  const { malformed } = helm.forms;
  const LINE_BYTES_LEAST = 256; // no receipt is shorter: who writes millions of shorter lines wants our memory
  const LINES_LEAST = 4096;

  class Log {
    constructor() {
      this.part = helm.part.WHOLE; // which places the lines have
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

    append({ at, bytes }) {
      this.starts.set(this.size, at);
      this.starts.set(this.size + 1, at + bytes.length + 1);
      this.leaves.push(helm.merkle.leafHash(bytes));
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

  // V2: all lines of a pack's receipts, and the digest of the file.
  async function read(source, place, progress) {
    if (!(await helm.lines.endsWhole(source, place))) malformed("the receipts do not end with a newline");
    const log = new Log();
    const sum = new helm.sha.Hash();
    const linesMax = LINES_LEAST + Math.floor(place.size / LINE_BYTES_LEAST);
    for await (const lines of helm.lines.lists(source, place, (bytes) => sum.add(bytes))) {
      if (log.size + lines.length > linesMax) malformed(`more than ${linesMax} lines in ${place.size} bytes are no receipts`);
      for (const line of lines) log.append(line);
      await progress("bytes", log.starts.get(log.size) - place.at, place.size);
    }
    return { log, digest: "sha256:" + helm.bytes.hex(sum.end()) };
  }

  // The bytes of a digest in the form that receipts have.
  function bytesOf(digest) {
    return helm.bytes.unhex(digest.slice("sha256:".length));
  }

  return { read, bytesOf };
})();

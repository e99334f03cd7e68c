// The receipts as far as they are kept: where each line lies, the digest of it, and the tree over them. Leaves are
// compared as numbers from here on: that of the first line with that leaf, or a negative one of a leaf that no line here
// has. So are sessions, tools and other names: two are the same if their numbers are.
helm.log = (() => {
  "use strict";
  const { Table } = helm.table;
  const { Column, Calls } = helm.column;
  const { malformed } = helm.forms;
  const LINE_BYTES_LEAST = 256; // no receipt is shorter: who writes millions of shorter lines wants our memory
  const LINES_LEAST = 4096;
  const BUNCH = 64; // lines of which one place is kept

  class Log {
    constructor() {
      this.part = helm.part.WHOLE; // which places the lines have
      this.leaves = new Table(32);
      this.tree = new helm.merkle.Tree(this.leaves.rows);
      this.sizes = new Column(Uint32Array); // of each line
      this.starts = new Column(Float64Array); // where the first of each bunch begins
      this.strangers = new Table(32);
      this.intents = new Calls(); // of the leaves of those that were read, and of their outcomes
      this.sessions = new Table(16);
      this.names = new Table(32); // by their digests
    }

    get size() {
      return this.leaves.size;
    }

    append({ at, bytes }) {
      if (this.size % BUNCH === 0) this.starts.set(this.size / BUNCH, at);
      this.sizes.set(this.size, bytes.length);
      this.leaves.push(helm.merkle.leafHash(bytes));
      this.tree.appended();
    }

    // Where a line lies in the pack.
    lineAt(index) {
      const first = index - (index % BUNCH);
      let at = this.starts.get(first / BUNCH);
      for (let line = first; line < index; line++) at += this.sizes.get(line) + 1;
      return { at, size: this.sizes.get(index) };
    }

    // Whether the line that is read again is the one whose leaf is in the tree.
    isLine(index, bytes) {
      return this.leaves.rows.is(index, helm.merkle.leafHash(bytes));
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

    // Which intent a digest names; -1 where it is none that was read before.
    intentOf(leaf) {
      return this.intents.find(this.find(leaf));
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
      if (lines.length) await progress("bytes", lines.at(-1).at - place.at, place.size);
    }
    return { log, digest: "sha256:" + helm.bytes.hex(sum.end()) };
  }

  // The bytes of a digest in the form that receipts have.
  function bytesOf(digest) {
    return helm.bytes.unhex(digest.slice("sha256:".length));
  }

  return { read, bytesOf };
})();

// Where a pack's bytes come from. A pack of a million receipts is longer than anybody's memory, so it is never there as
// a whole: it is a source, `{size, read(at, count) -> Promise of bytes}`, and is read in pieces, mostly forward.
helm.source = (() => {
  "use strict";
  const PIECE_BYTES = 4 << 20; // one question to a disk is worth that much

  // Of bytes, of a file that a person chose, or of what is a source already.
  function of(pack) {
    if (pack instanceof Uint8Array) return { size: pack.length, read: async (at, count) => pack.subarray(at, at + count) };
    const isFile = typeof Blob !== "undefined" && pack instanceof Blob;
    const read = isFile ? async (at, count) => new Uint8Array(await pack.slice(at, at + count).arrayBuffer()) : (at, count) => pack.read(at, count);
    return { size: pack.size, read: async (at, count) => whole(await read(at, count), count) };
  }

  function whole(bytes, count) {
    return bytes.length === count ? bytes : changed();
  }

  // Two readings of one place differ: that is nobody's evidence.
  function changed() {
    throw new Error("the file changed while it was read");
  }

  // A piece that moves along: whoever reads forward asks the disk once in four MiB, or as he says.
  class Window {
    constructor(source, pieceBytes = PIECE_BYTES) {
      Object.assign(this, { source, pieceBytes, at: 0, piece: new Uint8Array() });
    }

    // A view, good until the next question.
    async bytes(at, count) {
      if (at < this.at || at + count > this.at + this.piece.length) {
        const piece = await this.source.read(at, Math.min(Math.max(count, this.pieceBytes), this.source.size - at));
        Object.assign(this, { at, piece }); // both at once: somebody else may have asked meanwhile
      }
      return this.piece.subarray(at - this.at, at - this.at + count);
    }
  }

  async function* pieces(source, { at, size }) {
    for (let from = at; from < at + size; from += PIECE_BYTES) {
      yield [from, await source.read(from, Math.min(PIECE_BYTES, at + size - from))];
    }
  }

  // The SHA-256 of a place in the source.
  async function hash(source, place) {
    const sum = new helm.sha.Hash();
    for await (const [, bytes] of pieces(source, place)) sum.add(bytes);
    return sum.end();
  }

  return { of, Window, pieces, hash, changed };
})();

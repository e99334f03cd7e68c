// The lines of a file of lines, piece by piece. One that is longer than any record is a Fault, before it is held.
helm.lines = (() => {
  "use strict";
  const BYTES_MAX = 1 << 20; // of a record (record.md)

  // Lists of {at, bytes}, one for each piece that was read; `piece` is told every byte.
  async function* lists(source, place, piece = () => {}) {
    let held = new Uint8Array(); // the beginning of a line whose end is in a later piece
    for await (const [from, bytes] of helm.source.pieces(source, place)) {
      piece(bytes);
      const lines = [];
      let at = 0;
      for (let end; (end = bytes.indexOf(10, at)) >= 0; at = end + 1) {
        const line = held.length ? helm.bytes.join(held, bytes.subarray(at, end)) : bytes.subarray(at, end);
        lines.push({ at: from + end - line.length, bytes: bounded(line) });
        held = new Uint8Array();
      }
      if (at < bytes.length) held = bounded(helm.bytes.join(held, bytes.subarray(at)));
      yield lines;
    }
  }

  function bounded(line) {
    return line.length <= BYTES_MAX ? line : helm.forms.malformed("a line is longer than any record");
  }

  async function endsWhole(source, { at, size }) {
    return size === 0 || (await source.read(at + size - 1, 1))[0] === 10;
  }

  return { lists, endsWhole };
})();

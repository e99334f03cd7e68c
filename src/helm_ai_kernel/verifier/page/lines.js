// The lines of a file of lines, piece by piece. A line longer than any record is not held: it is told without its bytes.
helm.lines = (() => {
  "use strict";
  const BYTES_MAX = 1 << 20; // of a record (record.md)

  // Lists of {at, length, bytes (null of a longer line)}, one for each piece that was read; `piece` is told every byte.
  async function* lists(source, place, piece = () => {}) {
    let held = new Uint8Array(); // the beginning of a line whose end is in a later piece; null: of one too long to hold
    let begin = place.at;
    for await (const [from, bytes] of helm.source.pieces(source, place)) {
      piece(bytes);
      const lines = [];
      let at = 0;
      for (let end; (end = bytes.indexOf(10, at)) >= 0; at = end + 1) {
        const length = from + end - begin;
        const line = held?.length ? helm.bytes.join(held, bytes.subarray(at, end)) : bytes.subarray(at, end);
        lines.push({ at: begin, length, bytes: held && length <= BYTES_MAX ? line : null });
        held = new Uint8Array();
        begin = from + end + 1;
      }
      const rest = from + bytes.length - begin;
      if (rest > BYTES_MAX) held = null;
      else if (rest) held = helm.bytes.join(held, bytes.subarray(at));
      yield lines;
    }
  }

  async function endsWhole(source, { at, size }) {
    return size === 0 || (await source.read(at + size - 1, 1))[0] === 10;
  }

  return { lists, endsWhole, BYTES_MAX };
})();

// What makes a pack a part of a log (pack.md, Parts): which places its lines have, and the roots of all subtrees in which
// none of them stands. A whole pack is the part whose lines stand at their own numbers.
helm.part = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { object, listOf, digest, count, malformed, unsupported } = helm.forms;
  const BYTES_MAX = 32 << 20;
  const BRACKET = 0x5b;
  const asItIs = (value) => value;
  const RANGE = listOf(count, 2, 2);
  const INCLUSION = object({ v: asItIs, kind: asItIs, hashes: listOf(digest, 0, Infinity), ranges: listOf(RANGE, 1, Infinity) });

  const WHOLE = { placeOf: (index) => index, lineAt: (place) => place };

  class Part {
    constructor(ranges, hashes) {
      Object.assign(this, { ranges, hashes, range: 0, before: 0 });
    }

    // Of lines in their order: whoever goes back pays for it.
    placeOf(index) {
      if (index < this.before) Object.assign(this, { range: 0, before: 0 });
      while (index >= this.before + this.ranges[this.range][1]) this.before += this.ranges[this.range++][1];
      return this.ranges[this.range][0] + index - this.before;
    }

    // The line that stands at a place; -1 where none does.
    lineAt(place) {
      let before = 0;
      for (const [first, count] of this.ranges) {
        if (place >= first && place < first + count) return before + place - first;
        before += count;
      }
      return -1;
    }

    // The root of the tree of that size to which lines and hashes lead; a Fault if they lead to none.
    rootOf(size, leaves) {
      const { ranges, hashes } = this;
      let [line, used, range] = [0, 0, 0]; // `range`: the first that does not end before where the walk is
      const walk = (from, to) => {
        while (range < ranges.length && ranges[range][0] + ranges[range][1] <= from) range++;
        if (range === ranges.length || ranges[range][0] >= to) return used < hashes.size ? hashes.at(used++) : refuse("too few hashes");
        if (to - from === 1) return leaves.at(line++);
        const middle = from + helm.merkle.largestPowerBelow(to - from);
        const left = walk(from, middle);
        return helm.merkle.node(left, walk(middle, to));
      };
      const root = walk(0, size);
      return used === hashes.size && line === leaves.size ? root : refuse("more hashes or lines than the tree has room for");
    }
  }

  function refuse(what) {
    throw new Fault("INCLUSION_FAIL", "the proof of a part has " + what);
  }

  // V2: its form. `size` is the manifest's; `lines` how many are here.
  function read(bytes, size, lines) {
    let brackets = 0;
    for (const byte of bytes) brackets += byte === BRACKET;
    if (brackets > lines + 2) malformed("a part has more ranges than lines"); // before it is parsed
    const { value, text } = helm.json.readBoth(bytes, BYTES_MAX);
    if (value instanceof Map && (value.get("v") !== 1 || value.get("kind") !== "inclusion")) unsupported("a proof of another version or kind");
    if (!helm.json.isCanonical(value, text)) throw new Fault("NON_CANONICAL", "the proof of a part is not canonical");
    const { ranges, hashes } = INCLUSION(value, "inclusion");
    let [end, sum] = [-1, 0];
    for (const [first, many] of ranges) {
      if (many < 1 || first <= end) malformed("the ranges of a part are not apart and in order");
      [end, sum] = [first + many, sum + many];
    }
    if (end !== size) malformed("a part does not end with the last receipt of its log");
    if (sum !== lines) malformed(`a part says that it has ${sum} lines, and ${lines} are here`);
    const rows = new helm.column.Rows(32);
    for (const hash of hashes) rows.push(helm.log.bytesOf(hash));
    return new Part(ranges, rows);
  }

  return { read, WHOLE, BYTES_MAX };
})();

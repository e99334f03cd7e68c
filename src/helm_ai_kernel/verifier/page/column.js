// What is kept of each receipt: a few numbers in columns, and digests in rows, never an object. A column grows by
// chunks, so that growing copies nothing. What was never set is 0.
helm.column = (() => {
  "use strict";
  const SHIFT = 12; // 4,096 items in a chunk: little for a small pack, few for a large one
  const MASK = (1 << SHIFT) - 1;

  class Column {
    constructor(Type) {
      Object.assign(this, { Type, chunks: [] });
    }

    get(at) {
      const chunk = this.chunks[at >>> SHIFT];
      return chunk === undefined ? 0 : chunk[at & MASK];
    }

    set(at, value) {
      const chunk = (this.chunks[at >>> SHIFT] ??= new this.Type(1 << SHIFT));
      chunk[at & MASK] = value;
    }
  }

  // Byte strings of one length, in the order in which they came.
  class Rows {
    constructor(width) {
      Object.assign(this, { width, size: 0, chunks: [] });
    }

    push(bytes) {
      const chunk = (this.chunks[this.size >>> SHIFT] ??= new Uint8Array(this.width << SHIFT));
      chunk.set(bytes, (this.size & MASK) * this.width);
      return this.size++;
    }

    at(index) {
      const from = (index & MASK) * this.width;
      return this.chunks[index >>> SHIFT].subarray(from, from + this.width);
    }

    is(index, bytes) {
      const chunk = this.chunks[index >>> SHIFT];
      const from = (index & MASK) * this.width;
      for (let at = 0; at < this.width; at++) if (chunk[from + at] !== bytes[at]) return false;
      return true;
    }
  }

  // Numbers for some of many, in the order in which they came: what is kept of these has no room for the others.
  class Numbers {
    constructor() {
      Object.assign(this, { numbers: new Column(Int32Array), size: 0 });
    }

    // -1 where it has none.
    find(one) {
      return one < 0 ? -1 : this.numbers.get(one) - 1;
    }

    // The number that it has from now on.
    idOf(one) {
      const known = this.find(one);
      if (known < 0) this.numbers.set(one, ++this.size);
      return known < 0 ? this.size - 1 : known;
    }
  }

  // The same for calls; what is told of one has its number, too, and takes no more room by that.
  class Calls extends Numbers {
    find(one) {
      return Math.max(super.find(one), -1);
    }

    tell(one, call) {
      this.numbers.set(one, -1 - call);
    }

    // The call that it was told of; -1 where it was told of none.
    toldOf(one) {
      return -1 - Math.min(this.numbers.get(one), 0);
    }
  }

  // Short lists of numbers. A list is the place of its length; 0 is the empty one. None ever changes.
  class Lists {
    constructor() {
      Object.assign(this, { items: new Column(Int32Array), size: 1 });
    }

    of(list) {
      if (!list.length) return 0;
      const at = this.size;
      this.items.set(this.size++, list.length);
      for (const item of list) this.items.set(this.size++, item);
      return at;
    }

    get(at) {
      return Array.from({ length: this.items.get(at) }, (_, item) => this.items.get(at + 1 + item));
    }
  }

  // A table of columns with these names, `{name: Type}`: `row.name.get(number)`.
  function columns(types) {
    return Object.fromEntries(Object.entries(types).map(([name, Type]) => [name, new Column(Type)]));
  }

  return { Column, Rows, Numbers, Calls, Lists, columns };
})();

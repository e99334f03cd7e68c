// Which digests are known: rows, and an open-addressing hash table over their numbers, 4 bytes for each place in it.
// Whoever writes a pack chooses what stands in it; so the hash is HalfSipHash-1-3 (Aumasson, Bernstein) under a key that
// is drawn when the page is opened, and nobody can aim a million digests at one place.
helm.table = (() => {
  "use strict";
  const PLACES_LEAST = 64;
  const KEY = drawn();

  function drawn() {
    const key = Int32Array.from({ length: 2 }, () => Math.random() * 2 ** 32);
    globalThis.crypto?.getRandomValues(key);
    return key;
  }

  const turned = (word, by) => (word << by) | (word >>> (32 - by));

  function hashOf(bytes) {
    let [v0, v1, v2, v3] = [KEY[0], KEY[1], 0x6c796765 ^ KEY[0], 0x74656462 ^ KEY[1]];
    const round = () => {
      v0 = (v0 + v1) | 0;
      v1 = turned(v1, 5) ^ v0;
      v0 = turned(v0, 16);
      v2 = (v2 + v3) | 0;
      v3 = turned(v3, 8) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = turned(v3, 7) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = turned(v1, 13) ^ v2;
      v2 = turned(v2, 16);
    };
    for (let at = 0; at < bytes.length; at += 4) {
      const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
      v3 ^= word;
      round();
      v0 ^= word;
    }
    v2 ^= 0xff;
    for (let n = 0; n < 3; n++) round();
    return v1 ^ v3;
  }

  // Keys of one width, a multiple of four bytes. A key's number is that of the row in which it came first.
  class Table {
    constructor(width) {
      this.rows = new helm.column.Rows(width);
      this.places = new Int32Array(PLACES_LEAST); // number + 1; 0: free
    }

    get size() {
      return this.rows.size;
    }

    // The place where the key is, or could be.
    placeOf(key) {
      const mask = this.places.length - 1;
      let place = hashOf(key) & mask;
      while (this.places[place] !== 0 && !this.rows.is(this.places[place] - 1, key)) place = (place + 1) & mask;
      return place;
    }

    // -1 where it is unknown.
    find(key) {
      return this.places[this.placeOf(key)] - 1;
    }

    // The number of a key, new or not.
    idOf(key) {
      const known = this.find(key);
      return known < 0 ? this.push(key) : known;
    }

    // One row more, whether its key is new or not: the number of the row.
    push(key) {
      const number = this.rows.push(key);
      if (2 * this.size > this.places.length) this.grow();
      else this.enter(number, key);
      return number;
    }

    enter(number, key) {
      const place = this.placeOf(key);
      if (this.places[place] === 0) this.places[place] = number + 1;
    }

    grow() {
      this.places = new Int32Array(2 * this.places.length);
      for (let number = 0; number < this.size; number++) this.enter(number, this.rows.at(number));
    }
  }

  return { Table };
})();

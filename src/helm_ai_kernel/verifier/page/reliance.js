// V13: how much of the registry each receipt relies on. That never gets smaller, so the largest so far is a few steps.
helm.reliance = (() => {
  "use strict";
  const { Column } = helm.column;

  class Reliance {
    constructor(registry) {
      this.registry = registry; // null: nobody can say what is in it
      this.largest = 0;
      this.steps = 0;
      this.places = new Column(Float64Array); // where the largest grew, and to what
      this.sizes = new Column(Float64Array);
    }

    // Null, or [code, detail].
    receive(place, { size, head }) {
      const before = this.largest;
      if (size > before) this.grow(place, size);
      if (size < before) return ["ROLLBACK", `it relies on ${size} events, and one before it on ${before}`];
      if (!this.registry) return null;
      if (size > this.registry.size) return ["ROLLBACK", `it relies on ${size} events, and ${this.registry.size} are here`];
      return head === this.registry.headAt(size) ? null : ["REGISTRY_INVALID", `it relies on another head at size ${size}`];
    }

    grow(place, size) {
      this.places.set(this.steps, place);
      this.sizes.set(this.steps++, size);
      this.largest = size;
    }

    // The largest that a receipt under a checkpoint of that size relies on; 0 of none.
    largestUnder(size) {
      let [low, high] = [0, this.steps]; // steps below `low` are under it, those from `high` on are not
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.places.get(middle) < size) low = middle + 1;
        else high = middle;
      }
      return low ? this.sizes.get(low - 1) : 0;
    }
  }

  return { Reliance };
})();

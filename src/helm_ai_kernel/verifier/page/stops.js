// What stops calls until a person's release: holds of tools, or freezes of scopes. Each by the leaf of its receipt.
helm.stops = (() => {
  "use strict";
  const { Column } = helm.column;

  class Stops {
    constructor() {
      this.counts = new Column(Int32Array); // what is stopped -> how many of these are not released
      this.on = new Column(Int32Array); // leaf of one that is not released -> what it stops + 1
      this.count = 0; // not released, in all
    }

    add(id, what) {
      if (this.isBy(what, id)) return;
      this.on.set(id, what + 1);
      this.count++;
      this.counts.set(what, this.counts.get(what) + 1);
    }

    // Whether there was such a one.
    remove(id, what) {
      if (!this.isBy(what, id)) return false;
      this.on.set(id, 0);
      this.count--;
      this.counts.set(what, this.counts.get(what) - 1);
      return true;
    }

    has(what) {
      return this.counts.get(what) > 0;
    }

    isBy(what, id) {
      return id >= 0 && this.on.get(id) === what + 1;
    }
  }

  // The scopes that a call is in.
  function scopesOf(principal, session, tool) {
    return ["all", `server:${tool.split("/", 1)[0]}`, `agent:${principal}`, `session:${session}`];
  }

  return { Stops, scopesOf };
})();

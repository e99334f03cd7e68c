// Two clocks at one moment (approval.md, Two clocks): the wall's, and the machine's since it was booted. What time was it
// surely, and what perhaps: a wait is over when both say so, and silence when either does.
helm.clock = (() => {
  "use strict";
  const { columns } = helm.column;

  // Clocks by numbers from 1 on; a boot id is a number, too.
  class Clocks {
    constructor() {
      Object.assign(this, columns({ wall: Float64Array, sinceBoot: Float64Array, boot: Int32Array }));
      this.boots = new helm.table.Table(16);
      this.size = 0;
    }

    read({ wall_ms, boot, boot_ms }) {
      return { wall_ms, boot_ms, boot: this.boots.idOf(helm.bytes.unhex(boot)) };
    }

    keep(clock) {
      const { wall_ms, boot_ms, boot } = this.read(clock);
      this.size++;
      this.wall.set(this.size, wall_ms);
      this.sinceBoot.set(this.size, boot_ms);
      this.boot.set(this.size, boot);
      return this.size;
    }

    at(number) {
      return { wall_ms: this.wall.get(number), boot_ms: this.sinceBoot.get(number), boot: this.boot.get(number) };
    }

    // Whether this is what the clock of that number says.
    is(number, clock) {
      const [kept, read] = [this.at(number), this.read(clock)];
      return ["wall_ms", "boot_ms", "boot"].every((name) => kept[name] === read[name]);
    }

    passed(number, now) {
      return passed(this.at(number), now);
    }
  }

  // {surely, perhaps, wentBack}: from one clock to another, in milliseconds.
  function passed(then, now) {
    const wall = now.wall_ms - then.wall_ms;
    const boot = now.boot_ms - (now.boot === then.boot ? then.boot_ms : 0);
    return { surely: Math.min(wall, boot), perhaps: Math.max(wall, boot), wentBack: wall < 0 || boot < 0 };
  }

  return { Clocks, passed };
})();

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

    // {wall, sinceBoot, boot}
    read({ wall_ms, boot, boot_ms }) {
      return { wall: wall_ms, sinceBoot: boot_ms, boot: this.boots.idOf(helm.bytes.unhex(boot)) };
    }

    keep(clock) {
      const { wall, sinceBoot, boot } = this.read(clock);
      this.size++;
      this.wall.set(this.size, wall);
      this.sinceBoot.set(this.size, sinceBoot);
      this.boot.set(this.size, boot);
      return this.size;
    }

    at(number) {
      return { wall: this.wall.get(number), sinceBoot: this.sinceBoot.get(number), boot: this.boot.get(number) };
    }

    // Whether this is what the clock of that number says.
    is(number, clock) {
      const [kept, read] = [this.at(number), this.read(clock)];
      return kept.wall === read.wall && kept.sinceBoot === read.sinceBoot && kept.boot === read.boot;
    }

    // {surely, perhaps, wentBack}: from the clock of a number to this one, in milliseconds.
    passed(number, now) {
      const then = this.at(number);
      const wall = now.wall - then.wall;
      const boot = now.sinceBoot - (now.boot === then.boot ? then.sinceBoot : 0);
      return { surely: Math.min(wall, boot), perhaps: Math.max(wall, boot), wentBack: wall < 0 || boot < 0 };
    }
  }

  return { Clocks };
})();

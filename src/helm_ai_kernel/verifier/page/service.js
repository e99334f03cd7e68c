// Who does the work: a thread of its own, made from this page's own script, so that the page stays awake; or, where no
// such thread can start, the page itself. Both take the same questions: `verify`, and what a Teller is asked.
helm.service = (() => {
  "use strict";
  const PAUSE_MS = 100; // between two words about progress
  const BEAT_MS = 1000;
  const SILENT_BEATS_MAX = 60; // of a thread that works: longer than the longest piece of work that lets no other in
  class Cancelled extends Error {}

  // The work itself.
  class Work {
    constructor(tell) {
      Object.assign(this, { tell, teller: null, isCancelled: false, told: 0 });
    }

    async verify(file, asked) {
      const checklist = new helm.checklist.Checklist({ ...asked, progress: (...words) => this.progress(...words) });
      const report = await checklist.run(file);
      this.teller = new helm.tale.Teller(checklist, report);
      return { report, overview: this.teller.overview() };
    }

    async progress(what, done, all) {
      if (this.isCancelled) throw new Cancelled("cancelled");
      if (Date.now() - this.told < PAUSE_MS) return;
      this.told = Date.now();
      this.tell(what, done, all);
      await new Promise((resolve) => setTimeout(resolve)); // let a page breathe
    }

    async answer(method, words) {
      return method === "verify" ? this.verify(...words) : this.teller[method](...words);
    }
  }

  // In a thread: questions come as messages, {number, method, words}.
  function serve(port) {
    const work = new Work((...progress) => port.postMessage({ progress }));
    port.addEventListener("message", async ({ data: { number, method, words } }) => {
      try {
        port.postMessage({ number, value: await work.answer(method, words) });
      } catch (error) {
        port.postMessage({ number, error: error.message, isUsage: error instanceof helm.findings.Usage });
      }
    });
    port.postMessage({ ready: true });
    setInterval(() => port.postMessage({ alive: true }), BEAT_MS);
  }

  // The thread, as the page sees it. No browser says that one died, of too little memory or by somebody's hand: whoever
  // is silent for a minute is taken for dead. Beats are counted, not time: a machine that sleeps misses them on both sides.
  class Thread {
    constructor(worker, tell) {
      Object.assign(this, { worker, tell, asked: new Map(), number: 0, silent: 0, over: null });
      worker.addEventListener("message", ({ data }) => this.receive(data));
      worker.addEventListener("messageerror", () => this.end(new Error("what the thread said cannot be read")));
      worker.addEventListener("error", ({ message }) => this.end(new Error(message)));
      this.beats = setInterval(() => this.beat(), BEAT_MS);
    }

    beat() {
      if (!this.asked.size) this.silent = 0;
      else if (++this.silent > SILENT_BEATS_MAX) this.end(new Error("the thread that did the work has died, perhaps of too little memory"));
    }

    receive({ progress, number, value, error, isUsage }) {
      this.silent = 0;
      if (progress) return this.tell(...progress);
      const { resolve, reject } = this.asked.get(number) ?? {};
      if (!resolve) return;
      this.asked.delete(number);
      if (error === undefined) resolve(value);
      else reject(isUsage ? new helm.findings.Usage(error) : new Error(error));
    }

    ask(method, ...words) {
      if (this.over) return Promise.reject(this.over);
      const number = ++this.number;
      return new Promise((resolve, reject) => {
        this.asked.set(number, { resolve, reject });
        this.worker.postMessage({ number, method, words });
      });
    }

    cancel() {
      this.end(new Cancelled("cancelled"));
    }

    end(error) {
      this.over ??= error;
      clearInterval(this.beats);
      this.worker.terminate();
      for (const { reject } of this.asked.values()) reject(this.over);
      this.asked.clear();
    }
  }

  class Here {
    constructor(tell) {
      this.work = new Work(tell);
    }

    ask(method, ...words) {
      return this.work.answer(method, words);
    }

    cancel() {
      this.work.isCancelled = true;
    }
  }

  // `tell`: (what, done, all) about progress.
  async function start(script, tell) {
    try {
      return new Thread(await threadOf(script), tell);
    } catch {
      return new Here(tell);
    }
  }

  function threadOf(script) {
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    return new Promise((resolve, reject) => {
      const worker = new Worker(address);
      worker.addEventListener("message", () => resolve(worker), { once: true });
      worker.addEventListener("error", reject, { once: true });
    }).finally(() => URL.revokeObjectURL(address));
  }

  return { start, serve, Cancelled };
})();

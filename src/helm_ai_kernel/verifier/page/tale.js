// The story that a pack tells, some of it at a time and as plain data: for each session who asked, and for each call what
// was tried, what was decided and why, what happened, what is unknown and what was withheld or erased. Lines are read
// again from the file when they are shown. Whether they may be believed is the report's to say.
helm.tale = (() => {
  "use strict";
  const TEXT_BYTES_MAX = 16 << 10; // of an attachment
  const WORDS_MAX = 40; // that are shown of what was said of one held call
  const OVERRIDES_MAX = 20; // to which the head of the report leads
  const AROUND_BYTES = 64 << 10; // read with a line: who is shown one is shown those behind it

  class Teller {
    constructor(checklist, report) {
      const { reading, pack, registry, source } = checklist;
      Object.assign(this, { reading, registry, isPart: checklist.isPart, attachments: pack?.attachments, log: reading?.log, finder: reading?.finder });
      this.window = new helm.source.Window(source, AROUND_BYTES);
      this.faults = faultsByReceipt(report);
    }

    // {sessions, receipts, held, withheld, overrides, overridden}: how much there is to show, and what nobody should overlook.
    overview() {
      const { log, finder, attachments } = this;
      const overrides = finder?.overrideCount ?? 0;
      const overridden = Array.from({ length: Math.min(overrides, OVERRIDES_MAX) }, (_, at) => this.placeOf(finder.overrides.get(at)));
      return { overrides, overridden, sessions: finder?.lists ?? 0, receipts: log?.size ?? 0, held: attachments?.held ?? 0, withheld: attachments?.withheld ?? 0 };
    }

    // [{list, id (null: of lines that nobody can read), start, end, count, entries}] in the order in which they begin.
    async sessions(from, many, entriesMax) {
      const boxes = [];
      for (let at = from; at < Math.min(from + many, this.finder.lists); at++) boxes.push(await this.session(this.finder.order.get(at), entriesMax));
      return boxes;
    }

    // Of one session, perhaps from one line on.
    async session(list, entriesMax, from = undefined) {
      const { finder, log } = this;
      const [first, last] = [finder.heads.get(list) - 1, finder.tails.get(list) - 1];
      const [start, end] = list === 0 ? [null, null] : [this.plain(await this.read(first)), this.plain(await this.read(last))];
      return {
        ...{ list, isPart: this.isPart, count: finder.counts.get(list), id: list === 0 ? null : helm.bytes.hex(log.sessions.rows.at(list - 1)) },
        ...{ start: start?.shape === "start" ? start : null, end: end?.shape === "end" ? end : null },
        ...{ first: log.part.placeOf(from ?? first), from: from === undefined ? null : log.part.placeOf(from) },
        entries: await this.entries(list, entriesMax, from),
      };
    }

    // Up to so many of a session, from a line on, or behind one.
    async entries(list, many, from, behind = false) {
      const lines = this.finder.linesOf(list, many + (behind ? 1 : 0), from);
      return this.told(behind ? lines.slice(1) : lines);
    }

    // The first of the log, without what they hold: for a picture.
    async first(many) {
      const lines = Array.from({ length: Math.min(many, this.log.size) }, (_, line) => line);
      return this.told(lines, false);
    }

    // A session by its id, or a receipt by its number: a box as of `session`, or null.
    async find(text, entriesMax) {
      const { log, finder } = this;
      const wanted = text.trim().replace(/^receipt /, "");
      if (/^[0-9a-f]{32}$/.test(wanted)) {
        const list = finder.listOf(wanted);
        return list < 0 || !finder.counts.get(list) ? null : this.session(list, entriesMax);
      }
      const line = /^[0-9]{1,15}$/.test(wanted) ? log.part.lineAt(Number(wanted)) : -1;
      if (line < 0 || line >= log.size) return null;
      const receipt = await this.read(line);
      return this.session(receipt ? finder.listOf(receipt.session) : 0, entriesMax, line);
    }

    // The receipt of a line; null where nobody can read it.
    async read(line) {
      const { at, size } = this.log.lineAt(line);
      const bytes = await this.window.bytes(at, size);
      if (!this.log.isLine(line, bytes)) helm.source.changed();
      try {
        return helm.receipt.read(bytes);
      } catch (fault) {
        if (!(fault instanceof helm.findings.Fault)) throw fault;
        return null;
      }
    }

    // What can be sent from one thread to another.
    plain(receipt) {
      if (receipt === null) return null;
      const { record: _, statement, ...fields } = receipt;
      if (!statement) return fields;
      const { record, ...said } = statement;
      const signers = record.signatures.map(({ key }) => this.registry?.keys.get(key)?.principal ?? null); // null: a key that the registry does not have
      return { ...fields, statement: { ...said, signers } };
    }

    async told(lines, wholly = true) {
      const entries = [];
      for (const line of lines) entries.push(await this.entry(line, wholly));
      return entries;
    }

    // {index, line, isPart, receipt, tone, title, session, links, causes, faults, outcomes, held, erased, call, words, hasMoreWords, voices}
    async entry(line, wholly) {
      const { log, finder } = this;
      const receipt = await this.read(line);
      const index = log.part.placeOf(line);
      const entry = { index, line, isPart: this.isPart, receipt: this.plain(receipt), tone: helm.words.toneOf(receipt), title: helm.words.titleOf(receipt), session: receipt?.session ?? null };
      const causes = [...(receipt ? helm.receipt.causesOf(receipt) : [])].map(([leaf, link]) => ({ leaf, link, index: this.placeOf(log.find(leaf)) }));
      const links = new Map(causes.map((cause) => [cause.leaf, cause.index]));
      Object.assign(entry, { causes, links, faults: this.faults.get(index) ?? [], outcomes: [], held: new Map(), erased: null, call: null, words: [], voices: new Map() });
      if (!receipt || !wholly) return entry;
      const id = log.find(log.leafOf(line));
      if (helm.receipt.goes(receipt)) for (const at of finder.outcomes.of(id)) entry.outcomes.push({ index: log.part.placeOf(at), status: (await this.read(at))?.status });
      entry.erased = this.reading.force.erasureOf(await this.subjectOf(receipt));
      for (const name of helm.receipt.attachmentsOf(receipt)) entry.held.set(name, await this.attachment(name));
      await this.tellOfPeople(entry, receipt, id);
      return entry;
    }

    // Of a held call what was said of it, and of a receipt about one which call that is, and whose word it goes by.
    async tellOfPeople(entry, { call, statement, requires, facts, relies = [] }, id) {
      entry.call = await this.briefly(statement?.call ?? call);
      const lines = requires ? this.finder.words.of(id, WORDS_MAX + 1) : [];
      entry.hasMoreWords = lines.length > WORDS_MAX;
      for (const line of lines.slice(-WORDS_MAX)) entry.words.push(await this.brief(line));
      const { approval, grant } = facts ?? {};
      for (const leaf of [...(approval?.statements ?? []), ...(grant ? [grant.statement] : []), ...relies]) entry.voices.set(leaf, await this.briefly(leaf));
    }

    // {index, receipt, faults}, or null where it is not here.
    async briefly(leaf) {
      const line = leaf === undefined ? -1 : this.log.find(leaf);
      return line < 0 ? null : this.brief(line);
    }

    async brief(line) {
      const index = this.log.part.placeOf(line);
      return { index, receipt: this.plain(await this.read(line)), faults: (this.faults.get(index) ?? []).map(({ code }) => code) };
    }

    placeOf(line) {
      return line < 0 ? null : this.log.part.placeOf(line);
    }

    // Whom a call is about; an outcome is about whom its decision is.
    async subjectOf(receipt) {
      if (receipt.shape !== "outcome") return receipt.subject;
      const line = this.log.find(receipt.decision);
      return line < 0 ? undefined : (await this.read(line))?.subject;
    }

    // {state: "here", text (null: it is none), size} or {state: "withheld" | "wrong"}
    async attachment(name) {
      const { bytes, ...shown } = await this.attachments.show(name, TEXT_BYTES_MAX);
      return bytes ? { ...shown, text: beginning(bytes, shown.size) } : shown;
    }
  }

  // Text, of which the last character may be cut.
  function beginning(bytes, size) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: bytes.length < size });
    } catch {
      return null;
    }
  }

  function faultsByReceipt(report) {
    const faults = new Map();
    for (const finding of report.findings) {
      const [, index] = /^receipt ([0-9]+)$/.exec(finding.where) ?? [];
      if (index === undefined) continue;
      if (!faults.has(Number(index))) faults.set(Number(index), []);
      faults.get(Number(index)).push(finding);
    }
    return faults;
  }

  return { Teller };
})();

// V12: what receipts name, and the pack holds or withholds (receipt.md, Attachments). There can be as many as receipts,
// so a name is a row of 32 bytes: those that are held first, and behind them those that are only named.
helm.attachments = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { Column } = helm.column;
  const BLOCK = 512; // of the archive
  const SALT_BYTES = 32;
  const ARGUMENTS_BYTES_MAX = 4 << 20;
  const NAMED = 1;
  const ARGUMENTS = 2; // named as such
  const WRONG = 4; // not what its name says

  class Attachments {
    constructor(source) {
      this.source = source;
      this.names = new helm.table.Table(32);
      this.starts = new Column(Uint32Array); // in blocks; behind the last one where a next one would start
      this.paddings = new Column(Uint16Array);
      this.marks = new Column(Uint8Array);
      this.held = 0;
      this.withheld = 0; // named, and not held
    }

    // In the order of the archive no name comes twice, and nothing stands between two attachments.
    take(hex, { at, size }) {
      const blocks = Math.ceil(size / BLOCK);
      this.names.push(helm.bytes.unhex(hex));
      this.starts.set(this.held, at / BLOCK);
      this.paddings.set(this.held, blocks * BLOCK - size);
      this.held++;
      this.starts.set(this.held, at / BLOCK + blocks + 1); // behind the header of the next one
    }

    placeOf(number) {
      const [start, next] = [this.starts.get(number), this.starts.get(number + 1)];
      return { at: start * BLOCK, size: (next - 1 - start) * BLOCK - this.paddings.get(number) };
    }

    mark(number, mark) {
      this.marks.set(number, this.marks.get(number) | mark);
    }

    // What a receipt names.
    name(receipt) {
      for (const digest of helm.receipt.attachmentsOf(receipt)) {
        const number = this.names.idOf(helm.log.bytesOf(digest));
        if (number >= this.held && !this.marks.get(number)) this.withheld++;
        this.mark(number, NAMED | (digest === receipt.args_hash ? ARGUMENTS : 0));
      }
    }

    // `whole` is false behind a receipt that nobody can read: then nobody knows all the names.
    async check(withheld, whole, found, progress) {
      const window = new helm.source.Window(this.source);
      for (let number = 0; number < this.held; number++) {
        const fault = await this.faultOf(number, window, whole);
        if (fault) this.mark(number, WRONG);
        if (fault) found(new Fault("REDACTION_MISMATCH", `attachment \`${this.digestOf(number)}\` ${fault}`));
        if (whole && !(this.marks.get(number) & NAMED)) found(new Fault("REDACTION_MISMATCH", `no receipt names attachment \`${this.digestOf(number)}\``));
        if (number % 256 === 0) await progress(number, this.held);
      }
      if (whole && withheld !== this.withheld) found(new Fault("REDACTION_MISMATCH", `\`withheld\` is ${withheld}, and ${this.withheld} attachments are named and not here`));
    }

    async faultOf(number, window, whole) {
      const place = this.placeOf(number);
      const isLong = place.size > SALT_BYTES + ARGUMENTS_BYTES_MAX; // and so no arguments, and not to be held
      const bytes = isLong ? null : await window.bytes(place.at, place.size);
      const hash = isLong ? await helm.source.hash(this.source, place) : helm.sha.sha256(bytes);
      if (!this.names.rows.is(number, hash)) return "has another digest";
      if (place.size < SALT_BYTES) return "has no salt";
      return whole && this.marks.get(number) & ARGUMENTS && !areArguments(bytes) ? "is not one canonical object" : null;
    }

    digestOf(number) {
      return "sha256:" + helm.bytes.hex(this.names.rows.at(number));
    }

    // For a reader: {state: "here", bytes (the first of the content), size} or {state: "withheld" | "wrong"}.
    async show(digest, bytesMax) {
      const number = this.names.find(helm.log.bytesOf(digest));
      if (number < 0 || number >= this.held) return { state: "withheld" };
      const place = this.placeOf(number);
      const size = place.size - SALT_BYTES;
      if (size < 0 || this.marks.get(number) & WRONG) return { state: "wrong" };
      const bytes = await this.source.read(place.at + SALT_BYTES, Math.min(size, bytesMax));
      return { state: "here", bytes, size };
    }
  }

  function areArguments(bytes) {
    if (bytes === null) return false;
    try {
      return helm.json.readCanonical(bytes.subarray(SALT_BYTES), ARGUMENTS_BYTES_MAX) instanceof Map;
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return false;
    }
  }

  return { Attachments };
})();

// The container (pack.md): a ustar archive whose every byte follows from the names and contents of its entries. Each
// header is built again from the name and size that were read, and compared: so links, climbing paths, extension
// headers, times, trailing data and a second version of an entry have no form here. Nothing is ever extracted, and contents stay
// where they are.
helm.tar = (() => {
  "use strict";
  const { malformed } = helm.forms;
  const BYTES_MAX = 2 ** 35; // 32 GiB
  const BLOCK = 512;
  const NAME_BYTES = 100;
  const PREFIX_BYTES = 155;
  const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}(\/[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}){0,3}$/;

  // Tells every entry, in the order of the archive: (name, {at, size}). Contents are passed over.
  async function walk(source, tell, progress) {
    if (source.size > BYTES_MAX) malformed("a pack is longer than 32 GiB");
    const window = new helm.source.Window(source);
    let last = "";
    let at = 0;
    let count = 0;
    while (at + BLOCK <= source.size) {
      const header = await window.bytes(at, BLOCK);
      if (header[0] === 0) break;
      const { name, size } = readHeader(header);
      if (!helm.bytes.equal(header, headerOf(name, size))) malformed(`the header of \`${name}\` is not in its one form`);
      if (name <= last) malformed(`\`${name}\` is not sorted, or there twice`);
      const behind = at + BLOCK + size;
      const end = at + BLOCK + Math.ceil(size / BLOCK) * BLOCK;
      if (end > source.size) malformed(`\`${name}\` is cut`);
      if (!zeros(await window.bytes(behind, end - behind))) malformed(`behind \`${name}\` is something`);
      tell(name, { at: at + BLOCK, size });
      last = name;
      at = end;
      if (++count % 1024 === 0) await progress("bytes", at, source.size);
    }
    if (source.size !== at + 2 * BLOCK || !zeros(await window.bytes(at, 2 * BLOCK))) malformed("the archive does not end as it has to");
  }

  function zeros(bytes) {
    return bytes.every((byte) => byte === 0);
  }

  function field(header, from, length) {
    let text = "";
    for (let at = from; at < from + length && header[at] !== 0; at++) text += String.fromCharCode(header[at]);
    return text;
  }

  function readHeader(header) {
    const prefix = field(header, 345, PREFIX_BYTES);
    const name = (prefix ? prefix + "/" : "") + field(header, 0, NAME_BYTES);
    const digits = field(header, 124, 12);
    if (!NAME.test(name)) malformed("an entry has a name that none has");
    if (!/^[0-7]{11}$/.test(digits)) malformed(`the size of \`${name}\` is none`);
    return { name, size: parseInt(digits, 8) };
  }

  // What no name and no size changes.
  const SAME = new Uint8Array(BLOCK);
  put(SAME, 100, "0000644");
  put(SAME, 108, "0000000");
  put(SAME, 116, "0000000");
  put(SAME, 136, "00000000000");
  put(SAME, 148, "        "); // the sum counts its own place as spaces
  put(SAME, 156, "0");
  put(SAME, 257, "ustar\0" + "00");
  put(SAME, 329, "0000000");
  put(SAME, 337, "0000000");

  // A name is ASCII, and so is all else.
  function put(header, at, text) {
    for (let n = 0; n < text.length; n++) header[at + n] = text.charCodeAt(n);
  }

  function headerOf(name, size) {
    const header = SAME.slice();
    const split = splitAt(name);
    put(header, 0, split < 0 ? name : name.slice(split + 1));
    put(header, 124, size.toString(8).padStart(11, "0"));
    if (split >= 0) put(header, 345, name.slice(0, split));
    put(header, 148, sumOf(header).toString(8).padStart(6, "0") + "\0 ");
    return header;
  }

  function sumOf(header) {
    let sum = 0;
    for (const byte of header) sum += byte;
    return sum;
  }

  // The first slash that leaves at most 100 bytes behind it; -1 for a name that needs none.
  function splitAt(name) {
    if (name.length <= NAME_BYTES) return -1;
    const split = name.indexOf("/", name.length - NAME_BYTES - 1);
    if (split < 0 || split > PREFIX_BYTES) malformed("a name is too long");
    return split;
  }

  // No two names are equal when case is ignored, and none lies below another: some disk would mix them up.
  function checkTwins(names) {
    const folded = new Set(names.map((name) => name.toLowerCase()));
    if (folded.size < names.length) malformed("two names differ in letter case only");
    for (const name of folded) {
      for (let slash = name.indexOf("/"); slash >= 0; slash = name.indexOf("/", slash + 1)) {
        if (folded.has(name.slice(0, slash))) malformed(`\`${name}\` lies below another entry`);
      }
    }
  }

  return { walk, checkTwins };
})();

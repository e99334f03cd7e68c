// Which JSON is read, and the one form in which it is written (json.md). The parser is our own: JSON.parse takes a key
// twice, halves of surrogate pairs and numbers that no double holds, and then two readers see two documents.
//
// An object is read as a Map: a key named `__proto__` is a key like any other.
helm.json = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const BYTES_MAX = 1 << 20; // unless the door says otherwise
  const DEPTH_MAX = 64;
  const INTEGER_MAX = Number.MAX_SAFE_INTEGER; // 2^53 - 1
  const NUMBER_TEXT_MAX = 512; // of a fraction or an exponent: what is longer is padding
  const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

  function refuse(sub) {
    throw new Fault("PACK_MALFORMED", "not JSON of the profile: " + sub);
  }

  // The value of a document in the profile; a Fault PACK_MALFORMED otherwise.
  function read(bytes, bytesMax) {
    return readBoth(bytes, bytesMax).value;
  }

  // The value and the text of it, for who asks later whether that is its one form.
  function readBoth(bytes, bytesMax = BYTES_MAX) {
    if (bytes.length > bytesMax) refuse("size");
    if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) refuse("bom");
    checkDepth(bytes);
    const text = helm.bytes.text(bytes);
    if (text === null) refuse("encoding");
    return { value: new Reader(text).document(), text };
  }

  // Before anything recursive sees the document. No byte of a longer UTF-8 sequence looks like a bracket or a quote.
  function checkDepth(bytes) {
    let depth = 0;
    let inString = false;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at];
      if (inString) {
        if (byte === 0x5c) at++;
        else if (byte === 0x22) inString = false;
      } else if (byte === 0x22) inString = true;
      else if (byte === 0x5b || byte === 0x7b) {
        if (++depth > DEPTH_MAX) refuse("depth");
      } else if (byte === 0x5d || byte === 0x7d) depth--;
    }
  }

  class Reader {
    constructor(text) {
      this.text = text;
      this.at = 0;
    }

    document() {
      const value = this.value();
      this.space();
      if (this.at < this.text.length) refuse("syntax");
      return value;
    }

    space() {
      for (; this.at < this.text.length; this.at++) {
        const code = this.text.charCodeAt(this.at);
        if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      }
    }

    value() {
      this.space();
      const char = this.text[this.at];
      if (char === "{") return this.object();
      if (char === "[") return this.array();
      if (char === '"') return this.string();
      for (const [word, value] of [["true", true], ["false", false], ["null", null]]) {
        if (this.takes(word)) return value;
      }
      if (this.takes("NaN") || this.takes("Infinity") || this.takes("-Infinity")) refuse("number_range");
      return this.number();
    }

    takes(word) {
      if (!this.text.startsWith(word, this.at)) return false;
      this.at += word.length;
      return true;
    }

    // The next sign behind white space, which has to be one of these.
    sign(allowed) {
      this.space();
      const char = this.text[this.at++];
      if (char === undefined || !allowed.includes(char)) refuse("syntax");
      return char;
    }

    array() {
      const items = [];
      this.at++;
      this.space();
      if (this.takes("]")) return items;
      do items.push(this.value());
      while (this.sign(",]") === ",");
      return items;
    }

    object() {
      const members = new Map();
      this.at++;
      this.space();
      if (this.takes("}")) return members;
      do {
        this.space();
        if (this.text[this.at] !== '"') refuse("syntax");
        const key = this.string();
        if (members.has(key)) refuse("dup_key");
        this.sign(":");
        members.set(key, this.value());
      } while (this.sign(",}") === ",");
      return members;
    }

    string() {
      const pieces = [];
      let from = ++this.at;
      for (; ; this.at++) {
        const code = this.text.charCodeAt(this.at);
        if (!(code >= 0x20)) refuse("syntax"); // a control character, or the end
        if (code === 0x22) break;
        if (code !== 0x5c) continue;
        pieces.push(this.text.slice(from, this.at++), this.escape());
        from = this.at + 1;
      }
      const tail = this.text.slice(from, this.at++);
      if (!pieces.length) return tail; // no escape: what was UTF-8 has no half of a pair
      const whole = pieces.join("") + tail;
      if (!wellFormed(whole)) refuse("surrogate");
      return whole;
    }

    // Stands at the letter behind the backslash, and is left at the last character of the escape.
    escape() {
      const letter = this.text[this.at];
      if (letter !== "u") return Object.hasOwn(ESCAPES, letter ?? "") ? ESCAPES[letter] : refuse("syntax");
      const digits = this.text.slice(this.at + 1, this.at + 5);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) refuse("syntax");
      this.at += 4;
      return String.fromCharCode(parseInt(digits, 16));
    }

    digits() {
      const from = this.at;
      for (let code; (code = this.text.charCodeAt(this.at)) >= 0x30 && code <= 0x39; ) this.at++;
      if (this.at === from) refuse("syntax");
    }

    number() {
      const from = this.at;
      this.takes("-");
      if (!this.takes("0")) this.digits();
      const whole = this.at;
      if (this.takes(".")) this.digits();
      if (this.takes("e") || this.takes("E")) {
        if (!this.takes("+")) this.takes("-");
        this.digits();
      }
      return numberOf(this.text.slice(from, this.at), this.at > whole);
    }
  }

  // The number rule (json.md): the text is exactly the shortest decimal of the double nearest to it.
  function numberOf(text, padded) {
    if (!padded && text.length < 16 && text !== "-0") return Number(text); // whole, and its own shortest decimal
    if (padded && text.length > NUMBER_TEXT_MAX) refuse("number_precision");
    if (!padded && text.length > 17) refuse("number_range"); // 2^53 has 16 digits
    const double = Number(text);
    if (!Number.isFinite(double) || (Number.isInteger(double) && Math.abs(double) > INTEGER_MAX)) refuse("number_range");
    if (decimal(text) !== decimal(String(double))) refuse("number_precision");
    return double;
  }

  // A decimal in one spelling: sign, digits without zeros at either end, exponent. Minus zero stays what it is, and
  // String(-0) is `0`: so it is refused.
  function decimal(text) {
    const [, sign, whole, part = "", exponent = "0"] = /^(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?$/.exec(text);
    const digits = (whole + part).replace(/^0+/, "");
    if (!digits) return sign + "0";
    let end = digits.length;
    while (digits[end - 1] === "0") end--;
    return sign + digits.slice(0, end) + "e" + (BigInt(exponent) - BigInt(part.length) + BigInt(digits.length - end));
  }

  function wellFormed(text) {
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code < 0xd800 || code > 0xdfff) continue;
      const next = text.charCodeAt(at + 1);
      if (code > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return false;
      at++;
    }
    return true;
  }

  // RFC 8785, as text. Only for what `read` gave: so every string is well formed, every number in range, and the depth
  // bounded. JSON.stringify of one string or number is what the RFC refers to.
  function canonicalText(value) {
    if (value instanceof Map) {
      const keys = [...value.keys()].sort(); // by UTF-16 code units, which is how strings compare here
      return "{" + keys.map((key) => JSON.stringify(key) + ":" + canonicalText(value.get(key))).join(",") + "}";
    }
    if (Array.isArray(value)) return "[" + value.map(canonicalText).join(",") + "]";
    return JSON.stringify(value);
  }

  function canonical(value) {
    return helm.bytes.utf8(canonicalText(value));
  }

  // Reads a document of which only the canonical bytes are evidence.
  function readCanonical(bytes, bytesMax) {
    const { value, text } = readBoth(bytes, bytesMax);
    if (!isCanonical(value, text)) throw new Fault("NON_CANONICAL", "not the canonical form of what it says");
    return value;
  }

  // Strict UTF-8 is read one way only: two texts are the same exactly if their bytes are.
  function isCanonical(value, text) {
    return canonicalText(value) === text;
  }

  return { read, readBoth, readCanonical, isCanonical, canonical, canonicalText, BYTES_MAX };
})();

// Bytes and their two spellings: hexadecimal digits and base64. Everything here is exact: a spelling that encoding
// again would not give back is no spelling of those bytes (keys.md, record.md), so that one value has one form.
//
// This file is first in page.json: it makes the one name that all others hang themselves on. Each file is a plain
// script, so that the same text runs from a page on a disk and from Node, alone or all in a row.
const helm = {};

helm.bytes = (() => {
  "use strict";
  const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

  const ENCODER = new TextEncoder(); // one for all: a browser needs longer to make one than to use it
  const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  function utf8(text) {
    return ENCODER.encode(text);
  }

  // Strict UTF-8, the byte order mark kept as a character: null where the bytes are none.
  function text(bytes) {
    try {
      return DECODER.decode(bytes);
    } catch {
      return null;
    }
  }

  function equal(a, b) {
    if (a.length !== b.length) return false;
    for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
    return true;
  }

  function join(...parts) {
    const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  function hex(bytes) {
    let digits = "";
    for (const byte of bytes) digits += HEX[byte];
    return digits;
  }

  function unhex(digits) {
    const bytes = new Uint8Array(digits.length / 2);
    for (let at = 0; at < bytes.length; at++) bytes[at] = (nibble(digits, 2 * at) << 4) | nibble(digits, 2 * at + 1);
    return bytes;
  }

  function nibble(digits, at) {
    const code = digits.charCodeAt(at);
    return code < 0x3a ? code - 0x30 : (code | 0x20) - 0x57;
  }

  function base64(bytes) {
    let out = "";
    for (let at = 0; at < bytes.length; at += 3) {
      const group = (bytes[at] << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
      out += ALPHABET[group >> 18] + ALPHABET[(group >> 12) & 63];
      out += at + 1 < bytes.length ? ALPHABET[(group >> 6) & 63] : "=";
      out += at + 2 < bytes.length ? ALPHABET[group & 63] : "=";
    }
    return out;
  }

  // Null where the text is not base64 with padding in its one form (RFC 4648 §4).
  function unbase64(spelled) {
    if (spelled.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(spelled)) return null;
    const padding = spelled.endsWith("==") ? 2 : spelled.endsWith("=") ? 1 : 0;
    const bytes = new Uint8Array((spelled.length / 4) * 3 - padding);
    let group = 0;
    for (let at = 0, to = 0; at < spelled.length; at++) {
      group = (group << 6) | Math.max(0, ALPHABET.indexOf(spelled[at]));
      if (at % 4 < 3) continue;
      for (const shift of [16, 8, 0]) if (to < bytes.length) bytes[to++] = (group >> shift) & 255;
      group = 0;
    }
    return base64(bytes) === spelled ? bytes : null;
  }

  // A line of printable ASCII, whatever came in (verification.md, Report): no pack writes on a reader's terminal.
  function printable(foreign, charactersMax = 1024) {
    let out = "";
    for (const char of String(foreign)) {
      if (out.length >= charactersMax) return out + "...";
      out += char >= " " && char <= "~" && char !== "\\" ? char : "\\u{" + char.codePointAt(0).toString(16) + "}";
    }
    return out;
  }

  return { utf8, text, equal, join, hex, unhex, base64, unbase64, printable };
})();

// SHA-256 and SHA-512 (FIPS 180-4), because WebCrypto's digest answers later and a tree of a million leaves cannot
// wait a million times. SHA-256 names everything; SHA-512 is needed only where Ed25519 is done by hand.
helm.sha = (() => {
  "use strict";
  const PRIMES = firstPrimes(80);
  const K512 = PRIMES.map((prime) => fraction(prime, 3n, 64n));
  const K256 = Int32Array.from(K512.slice(0, 64), (constant) => Number(BigInt.asIntN(32, constant >> 32n)));
  const H512 = PRIMES.slice(0, 8).map((prime) => fraction(prime, 2n, 64n));
  const H256 = Int32Array.from(H512, (constant) => Number(BigInt.asIntN(32, constant >> 32n)));
  const K512_HIGH = Int32Array.from(K512, (constant) => Number(BigInt.asIntN(32, constant >> 32n)));
  const K512_LOW = Int32Array.from(K512, (constant) => Number(BigInt.asIntN(32, constant)));

  function firstPrimes(count) {
    const primes = [];
    for (let number = 2; primes.length < count; number++) {
      if (primes.every((prime) => number % prime)) primes.push(number);
    }
    return primes;
  }

  // The first bits behind the point of a root of a prime: where the constants of both functions come from.
  function fraction(prime, degree, bits) {
    const wanted = BigInt(prime) << (degree * bits);
    let low = 0n;
    let high = 1n << (bits + 10n);
    while (low < high) {
      const middle = (low + high + 1n) >> 1n;
      if (middle ** degree <= wanted) low = middle;
      else high = middle - 1n;
    }
    return low & ((1n << bits) - 1n);
  }

  // A SHA-256 of what comes in pieces: a pack is longer than anybody's memory.
  class Hash {
    constructor() {
      this.state = Int32Array.from(H256);
      this.tail = new Uint8Array(64);
      this.length = 0;
    }

    add(bytes) {
      const held = this.length % 64;
      let at = held ? Math.min(64 - held, bytes.length) : 0;
      this.length += bytes.length;
      if (held) {
        this.tail.set(bytes.subarray(0, at), held);
        if (held + at < 64) return this;
        block256(this.state, this.tail, 0);
      }
      for (; at + 64 <= bytes.length; at += 64) block256(this.state, bytes, at);
      this.tail.set(bytes.subarray(at));
      return this;
    }

    // The digest; nothing can be added behind it.
    end() {
      const { state, tail, length } = this;
      const held = length % 64;
      tail.fill(0, held);
      tail[held] = 0x80;
      if (held >= 56) {
        block256(state, tail, 0); // the length has no room in it
        tail.fill(0);
      }
      putWord(tail, 56, Math.floor(length / 0x20000000));
      putWord(tail, 60, length << 3);
      block256(state, tail, 0);
      return unwords(state);
    }
  }

  // The rest of a message behind its last whole block, with its padding: one block of 128 bytes or two.
  function padded(rest, length) {
    const tail = new Uint8Array(rest.length + 17 > 128 ? 256 : 128);
    tail.set(rest);
    tail[rest.length] = 0x80;
    putWord(tail, tail.length - 8, Math.floor(length / 0x20000000));
    putWord(tail, tail.length - 4, length << 3);
    return tail;
  }

  function word(bytes, at) {
    return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }

  function putWord(bytes, at, value) {
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
  }

  function unwords(words) {
    const bytes = new Uint8Array(words.length * 4);
    words.forEach((value, index) => putWord(bytes, 4 * index, value));
    return bytes;
  }

  const W = new Int32Array(64);

  function sha256(message) {
    return new Hash().add(message).end();
  }

  function block256(state, bytes, at) {
    for (let t = 0; t < 16; t++) W[t] = word(bytes, at + 4 * t);
    for (let t = 16; t < 64; t++) {
      const x = W[t - 15];
      const y = W[t - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      W[t] = (W[t - 16] + s0 + W[t - 7] + s1) | 0;
    }
    let a = state[0];
    let b = state[1];
    let c = state[2];
    let d = state[3];
    let e = state[4];
    let f = state[5];
    let g = state[6];
    let h = state[7];
    for (let t = 0; t < 64; t++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K256[t] + W[t]) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }

  // Words of 64 bits as two of 32: high and low halves in two arrays.
  const WH = new Int32Array(80);
  const WL = new Int32Array(80);
  const SH = new Int32Array(8);
  const SL = new Int32Array(8);

  function sha512(message) {
    const state = new Int32Array(16);
    H512.forEach((constant, index) => {
      state[2 * index] = Number(BigInt.asIntN(32, constant >> 32n));
      state[2 * index + 1] = Number(BigInt.asIntN(32, constant));
    });
    const whole = message.length - (message.length % 128);
    for (let at = 0; at < whole; at += 128) block512(state, message, at);
    const rest = padded(message.subarray(whole), message.length);
    for (let at = 0; at < rest.length; at += 128) block512(state, rest, at);
    return unwords(state);
  }

  const right = (high, low, by) => (by < 32 ? (high >>> by) | (low << (32 - by)) : (low >>> (by - 32)) | (high << (64 - by)));
  const lowOf = (high, low, by) => right(low, high, by);

  function block512(state, bytes, at) {
    for (let t = 0; t < 16; t++) {
      WH[t] = word(bytes, at + 8 * t);
      WL[t] = word(bytes, at + 8 * t + 4);
    }
    for (let t = 16; t < 80; t++) {
      const [xh, xl, yh, yl] = [WH[t - 15], WL[t - 15], WH[t - 2], WL[t - 2]];
      const s0h = right(xh, xl, 1) ^ right(xh, xl, 8) ^ (xh >>> 7);
      const s0l = lowOf(xh, xl, 1) ^ lowOf(xh, xl, 8) ^ ((xl >>> 7) | (xh << 25));
      const s1h = right(yh, yl, 19) ^ right(yh, yl, 61) ^ (yh >>> 6);
      const s1l = lowOf(yh, yl, 19) ^ lowOf(yh, yl, 61) ^ ((yl >>> 6) | (yh << 26));
      const low = (WL[t - 16] >>> 0) + (s0l >>> 0) + (WL[t - 7] >>> 0) + (s1l >>> 0);
      WL[t] = low | 0;
      WH[t] = (WH[t - 16] + s0h + WH[t - 7] + s1h + Math.floor(low / 0x100000000)) | 0;
    }
    for (let n = 0; n < 8; n++) {
      SH[n] = state[2 * n];
      SL[n] = state[2 * n + 1];
    }
    for (let t = 0; t < 80; t++) round512(t);
    for (let n = 0; n < 8; n++) {
      const low = (state[2 * n + 1] >>> 0) + (SL[n] >>> 0);
      state[2 * n] = (state[2 * n] + SH[n] + Math.floor(low / 0x100000000)) | 0;
      state[2 * n + 1] = low | 0;
    }
  }

  function round512(t) {
    const [ah, al, eh, el] = [SH[0], SL[0], SH[4], SL[4]];
    const s1h = right(eh, el, 14) ^ right(eh, el, 18) ^ right(eh, el, 41);
    const s1l = lowOf(eh, el, 14) ^ lowOf(eh, el, 18) ^ lowOf(eh, el, 41);
    const chl = (el & SL[5]) ^ (~el & SL[6]);
    const t1low = (SL[7] >>> 0) + (s1l >>> 0) + (chl >>> 0) + (K512_LOW[t] >>> 0) + (WL[t] >>> 0);
    const chh = (eh & SH[5]) ^ (~eh & SH[6]);
    const t1h = (SH[7] + s1h + chh + K512_HIGH[t] + WH[t] + Math.floor(t1low / 0x100000000)) | 0;
    const t1l = t1low | 0;
    const s0h = right(ah, al, 28) ^ right(ah, al, 34) ^ right(ah, al, 39);
    const s0l = lowOf(ah, al, 28) ^ lowOf(ah, al, 34) ^ lowOf(ah, al, 39);
    const majl = (al & SL[1]) ^ (al & SL[2]) ^ (SL[1] & SL[2]);
    const majh = (ah & SH[1]) ^ (ah & SH[2]) ^ (SH[1] & SH[2]);
    SH.copyWithin(1, 0, 7);
    SL.copyWithin(1, 0, 7);
    const elow = (SL[4] >>> 0) + (t1l >>> 0);
    SH[4] = (SH[4] + t1h + Math.floor(elow / 0x100000000)) | 0;
    SL[4] = elow | 0;
    const alow = (t1l >>> 0) + (s0l >>> 0) + (majl >>> 0);
    SH[0] = (t1h + s0h + majh + Math.floor(alow / 0x100000000)) | 0;
    SL[0] = alow | 0;
  }

  // How a digest is written everywhere.
  function digest(bytes) {
    return "sha256:" + helm.bytes.hex(sha256(bytes));
  }

  return { sha256, sha512, digest, Hash };
})();

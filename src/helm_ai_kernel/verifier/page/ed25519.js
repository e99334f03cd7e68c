// Strict Ed25519 (keys.md). Libraries disagree about odd keys and odd signatures, so the odd ones are refused here
// first, by BigInt, and only then is anybody asked. Asked is WebCrypto where it has Ed25519 and passes a probe; where
// it has not (an older browser), the equation is computed here: slower, and with the same answer.
//
// Nothing here is secret, so nothing needs constant time.
helm.ed25519 = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const P = 2n ** 255n - 19n;
  const L = 2n ** 252n + 27742317777372353535851937790883648493n;
  const D = mod(-121665n * power(121666n, P - 2n));
  const SQRT_OF_MINUS_ONE = power(2n, (P - 1n) / 4n);
  const LOW_ORDER_Y = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
  const FORBIDDEN_Y = new Set([0n, 1n, P - 1n, LOW_ORDER_Y, P - LOW_ORDER_Y]);
  const FORBIDDEN_TOPS = new Set([127, ...[...FORBIDDEN_Y].map((y) => Number(y >> 248n))]); // their highest bytes
  const SIGN = 1n << 255n;
  const IDENTITY = { x: 0n, y: 1n, z: 1n, t: 0n };
  const BASE = decode(encodedY(mod(4n * power(5n, P - 2n))));

  function mod(number) {
    const rest = number % P;
    return rest < 0n ? rest + P : rest;
  }

  function power(base, exponent) {
    let result = 1n;
    for (let square = base % P; exponent; exponent >>= 1n) {
      if (exponent & 1n) result = (result * square) % P;
      square = (square * square) % P;
    }
    return result;
  }

  function integer(bytes) {
    return BigInt("0x" + helm.bytes.hex(Uint8Array.from(bytes).reverse()));
  }

  function encodedY(number) {
    return helm.bytes.unhex(number.toString(16).padStart(64, "0")).reverse();
  }

  // The 48 encodings of step 2: every one that is not canonical or of low order.
  function forbidden(encoded) {
    if (!FORBIDDEN_TOPS.has(encoded[31] & 127)) return false; // nearly always
    const y = integer(encoded) & (SIGN - 1n);
    return y >= P || FORBIDDEN_Y.has(y);
  }

  // A point in extended coordinates, or null where the encoding is none of the curve.
  function decode(encoded) {
    const number = integer(encoded);
    const y = number & (SIGN - 1n);
    if (y >= P) return null;
    const u = mod(y * y - 1n);
    const v = mod(D * y * y + 1n);
    const v3 = mod(v * v * v);
    let x = mod(u * v3 * power(mod(u * v3 * v3 * v), (P - 5n) / 8n));
    if (mod(v * x * x) !== u) x = mod(x * SQRT_OF_MINUS_ONE);
    if (mod(v * x * x) !== u) return null;
    const sign = number >= SIGN;
    if (x === 0n && sign) return null;
    if ((x & 1n) === 1n !== sign) x = mod(-x);
    return { x, y, z: 1n, t: mod(x * y) };
  }

  function encode(point) {
    const inverse = power(point.z, P - 2n);
    const x = mod(point.x * inverse);
    return encodedY(mod(point.y * inverse) | (x & 1n ? SIGN : 0n));
  }

  function add(a, b) {
    const left = mod((a.y - a.x) * (b.y - b.x));
    const right = mod((a.y + a.x) * (b.y + b.x));
    const c = mod(2n * D * a.t * b.t);
    const d = mod(2n * a.z * b.z);
    return fromEfgh(right - left, d - c, d + c, right + left);
  }

  function twice(a) {
    const xx = a.x * a.x;
    const yy = a.y * a.y;
    const g = mod(yy - xx);
    const sum = a.x + a.y;
    return fromEfgh(mod(sum * sum - xx - yy), g - mod(2n * a.z * a.z), g, mod(-xx - yy));
  }

  function fromEfgh(e, f, g, h) {
    return { x: mod(e * f), y: mod(g * h), z: mod(f * g), t: mod(e * h) };
  }

  // [n]A + [m]B in one walk over both numbers.
  function multiply(n, a, m = 0n, b = IDENTITY) {
    const both = add(a, b);
    let sum = IDENTITY;
    for (let bit = BigInt(Math.max(n.toString(2).length, m.toString(2).length)) - 1n; bit >= 0n; bit--) {
      sum = twice(sum);
      const which = Number((n >> bit) & 1n) + 2 * Number((m >> bit) & 1n);
      if (which) sum = add(sum, which === 3 ? both : which === 2 ? b : a);
    }
    return sum;
  }

  // Step 3, at registration: a point of the curve, not forbidden, of prime order.
  function checkRegistered(publicKey) {
    const point = publicKey.length === 32 && !forbidden(publicKey) ? decode(publicKey) : null;
    const end = point && multiply(L, point);
    if (!point || end.x !== 0n || end.y !== end.z) throw new Fault("KEY_WEAK", "a key is no canonical point of prime order");
  }

  // Step 4, at every verification. Resolves or throws a Fault KEY_WEAK or SIG_INVALID.
  async function verify(publicKey, message, signature) {
    if (forbidden(publicKey)) throw new Fault("KEY_WEAK", "a signature by a key of low order");
    const odd = signature.length !== 64 || forbidden(signature.subarray(0, 32)) || tooLarge(signature.subarray(32));
    if (odd || !(await holds(publicKey, message, signature))) throw new Fault("SIG_INVALID", "a signature does not verify");
  }

  function tooLarge(s) {
    return s[31] >= 16 && integer(s) >= L; // L is a little more than 2^252
  }

  async function holds(publicKey, message, signature) {
    const subtle = await webCrypto();
    return subtle ? asked(subtle, publicKey, message, signature) : computed(publicKey, message, signature);
  }

  // [S]B - [k]A is encoded and compared with R as bytes: without the cofactor.
  function computed(publicKey, message, signature) {
    const a = decode(publicKey);
    if (!a) return false;
    const r = signature.subarray(0, 32);
    const k = integer(helm.sha.sha512(helm.bytes.join(r, publicKey, message))) % L;
    const minusA = { x: mod(-a.x), y: a.y, z: 1n, t: mod(-a.t) };
    return helm.bytes.equal(encode(multiply(integer(signature.subarray(32)), BASE, k, minusA)), r);
  }

  // A registry has at most 4,096 keys, and only its keys are imported.
  const imported = new Map();

  async function asked(subtle, publicKey, message, signature) {
    const name = helm.bytes.hex(publicKey);
    if (!imported.has(name)) imported.set(name, subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]));
    try {
      return await subtle.verify("Ed25519", await imported.get(name), signature, message);
    } catch {
      return computed(publicKey, message, signature); // whoever cannot answer has not said no
    }
  }

  // WebCrypto is trusted after it accepted the signature of keys.md and refused one that holds only when the
  // cofactor is multiplied in: [S]B = R + [k]A + T with T of order 8. The draft once let implementers choose.
  const PROBE = {
    key: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    good: "511ca497c4d4270b098b1afd5ae4e3b951a5da2c9da6e9c0528f5761883676e7df6e4c0f0e1b5a0a4444f4298b1882dd822fb1133cbd49abfb996c87cd5b8506",
    cofactored: "c4b5071740aa55004b7e86b0515410513388c139ce2db5e14d83379cee4d91d634af269b6334052b5812108a3a0d59a226bb7188dd6c4367d4c5037e37eb600b",
  };
  let engine = null;

  function webCrypto() {
    engine ??= probe(globalThis.crypto?.subtle);
    return engine;
  }

  async function probe(subtle) {
    const { unhex, utf8 } = helm.bytes;
    try {
      const key = await subtle.importKey("raw", unhex(PROBE.key), "Ed25519", false, ["verify"]);
      const says = (signature) => subtle.verify("Ed25519", key, unhex(signature), utf8("hello"));
      return (await says(PROBE.good)) && !(await says(PROBE.cofactored)) ? subtle : null;
    } catch {
      return null;
    }
  }

  // For tests, and for a reader who trusts no browser: compute everything here.
  function computeHere() {
    engine = Promise.resolve(null);
  }

  return { checkRegistered, verify, computeHere };
})();

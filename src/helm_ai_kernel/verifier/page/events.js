// An event of the trust registry by itself (registry.md, What a reader checks, steps 1 to 3): its form, and its new keys,
// each a canonical point of prime order. Whether it may happen is the registry's question (registry.js).
helm.events = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { object, listOf, text, stringOf, oneOf, time, id, count, orNull, unsupported, malformed } = helm.forms;
  const PRINCIPAL = /^[!-~]{1,128}$/;
  const ORIGIN = /^(?!.*\+)[!-~]{1,256}$/;

  const HELD = { scheme: stringOf(0, 32), public: stringOf(0, 64), principal: stringOf(0, 128) };
  const keyId = stringOf(0, 96);
  const ROOT = object(HELD);
  const KEY = object({ ...HELD, purpose: text, log: orNull(text) });
  // The forms of `seq`, `prev` and `deployment` are looked at where their place is: behind the signatures.
  const EVERY = { at: time, v: asItIs, kind: text, event: text, signers: listOf(text), seq: asItIs, prev: asItIs };
  const FIELDS = {
    genesis: object({ ...EVERY, nonce: id, roots: listOf(ROOT, 0, Infinity), threshold: count, deployment: asItIs }),
    add: object({ ...EVERY, key: KEY }),
    rotate: object({ ...EVERY, key: KEY, replaces: keyId }),
    revoke: object({ ...EVERY, key: keyId, reason: oneOf("superseded", "cessation", "compromise"), since: orNull(time) }),
    threshold: object({ ...EVERY, threshold: count }),
  };

  function asItIs(value) {
    return value;
  }

  function invalid(what) {
    throw new Fault("REGISTRY_INVALID", what);
  }

  // {event, seq, prev, and what it does: `added` keys, the id of the key that it `ends`, the new `threshold` or null}
  function read(record, isFirst) {
    if (record.kind !== "trust") unsupported(`a record of the kind \`${record.kind}\``);
    time(record.body.get("at"), "at");
    const event = record.body.get("event");
    if ((event === "genesis") !== isFirst && (isFirst || event === "genesis")) invalid("a genesis is the first event, and only the first");
    if (typeof event !== "string" || !Object.hasOwn(FIELDS, event)) unsupported(`an event \`${String(event).slice(0, 64)}\``);
    const fields = FIELDS[event](record.body, "event");
    return { threshold: null, ends: null, added: [], ...fields, ...READERS[event](fields) };
  }

  const READERS = {
    genesis: readGenesis,
    add: ({ key }) => ({ added: [readKey(key)] }),
    rotate: ({ key, replaces }) => ({ added: [readKey(key)], ends: replaces }),
    revoke: readRevoke,
    threshold: ({ threshold }) => (threshold < 1 ? invalid("a threshold of nobody") : {}),
  };

  // How many different people hold these keys. Two principals that differ in letter case only are one.
  function holders(keys) {
    return new Set(keys.map((key) => key.principal.toLowerCase())).size;
  }

  function readGenesis({ seq, prev, roots, threshold }) {
    if (count(seq, "seq") !== 0 || prev !== null) invalid("a genesis has `seq` 0 and follows nothing");
    const added = roots.map((root) => readKey({ ...root, purpose: "root", log: null }));
    const ascends = roots.every((root, at) => at === 0 || roots[at - 1].public < root.public); // base64: all ASCII
    if (!roots.length || !ascends) invalid("`roots` is empty, unsorted or names a key twice");
    if (threshold < 1 || threshold > holders(added)) invalid("a threshold that the roots cannot reach, or none");
    return { added };
  }

  function readRevoke({ key, reason, since }) {
    if ((reason === "compromise") !== (since !== null)) invalid("a compromise, and no other reason, says since when");
    return { ends: key };
  }

  function readKey(key) {
    if (key.scheme !== helm.keys.SCHEME) unsupported("a key of another scheme");
    if (!helm.keys.PURPOSES.includes(key.purpose)) unsupported("a key for an unknown purpose");
    const bytes = helm.bytes.unbase64(key.public);
    if (bytes === null) malformed("a public key is not base64");
    if (bytes.length !== 32) throw new Fault("KEY_WEAK", "a public key has 32 bytes");
    helm.ed25519.checkRegistered(bytes);
    if (!PRINCIPAL.test(key.principal)) invalid("a principal is not 1 to 128 visible characters");
    const machine = helm.keys.MACHINES.includes(key.purpose);
    if (machine ? key.log === null || !ORIGIN.test(key.log) : key.log !== null) invalid("a machine's key, and no other, has a log");
    return { ...key, bytes, id: helm.keys.keyId(key.purpose, bytes) };
  }

  return { read, holders, ORIGIN };
})();

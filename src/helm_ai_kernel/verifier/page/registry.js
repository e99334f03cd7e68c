// The trust registry (registry.md): who may sign what, folded from its genesis, one verified event after the other.
// The first event that fails ends it, and then the registry is what it was before that event.
helm.registry = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { object, listOf, text, time, id, count, orNull, unsupported, malformed } = helm.forms;
  const EVENTS_MAX = 4096; // a key a day for eleven years
  const ROOTS_MAX = 64;
  const PRINCIPAL = /^[!-~]{1,128}$/;
  const DEPLOYMENT = /^(?!.*\+)[!-~]{1,200}$/;
  const ORIGIN = /^(?!.*\+)[!-~]{1,256}$/;

  const EVERY = { v: (value) => value, kind: text, event: text, seq: count, at: time, signers: listOf(text) };
  const GENESIS = object({
    ...EVERY,
    prev: orNull(helm.forms.digest),
    deployment: orNull(text),
    nonce: id,
    threshold: count,
    roots: listOf(object({ scheme: text, public: text, principal: text }), 1, ROOTS_MAX),
  });
  const ADD = object({
    ...EVERY,
    prev: orNull(helm.forms.digest),
    key: object({ scheme: text, purpose: text, public: text, principal: text, log: orNull(text) }),
  });

  function invalid(what) {
    throw new Fault("REGISTRY_INVALID", what);
  }

  class Registry {
    constructor() {
      this.size = 0;
      this.heads = []; // the leaf of each event's line
      this.keys = new Map(); // id -> {id, purpose, bytes, principal, log, since}
      this.publics = new Set();
      this.roots = new Map();
      this.threshold = 0;
      this.genesis = null;
      this.deployment = null;
    }

    // A key, if it is in force at this size of the registry and the registry is that large.
    keyAt(keyId, size) {
      const key = this.keys.get(keyId);
      return key && size <= this.size && key.since <= size ? key : null;
    }

    headAt(size) {
      return size <= this.size ? (this.heads[size - 1] ?? null) : null;
    }

    logKeys(origin) {
      return [...this.keys.values()].filter((key) => key.purpose === "log" && key.log === origin);
    }

    // One event more, or a Fault and the registry as it was.
    async append(line) {
      if (this.size >= EVENTS_MAX) invalid(`more than ${EVENTS_MAX} events`);
      const record = helm.record.read(line);
      const event = readEvent(record);
      const added = event.event === "genesis" ? event.roots : [event.key];
      if (event.event === "genesis") this.checkGenesis(event, record);
      else this.checkAdd(event, record);
      for (const signature of record.signatures) {
        const key = added.find((one) => one.id === signature.key) ?? this.roots.get(signature.key);
        await helm.record.verify(record, signature, key);
      }
      this.checkPlace(event, line);
      for (const key of added) {
        if (this.publics.has(key.public)) invalid("a public key is registered a second time");
      }
      this.take(event, added, line, record);
    }

    checkGenesis(event, record) {
      const ids = event.roots.map((root) => root.id).sort();
      const signers = record.signatures.map((signature) => signature.key);
      if (String(ids) !== String(signers)) invalid("a genesis is signed by each of its roots and nobody else");
    }

    // Signed by the new key itself, by as many principals with root keys as the threshold says, and by nobody else.
    checkAdd(event, record) {
      const signers = record.signatures.map((signature) => signature.key);
      if (!signers.includes(event.key.id)) invalid("a key did not sign its own event");
      const roots = signers.filter((signer) => signer !== event.key.id).map((signer) => this.roots.get(signer));
      if (roots.includes(undefined)) invalid("an event is signed by a key that is no root");
      const principals = new Set(roots.map((root) => root.principal.toLowerCase()));
      if (!this.size || principals.size < this.threshold) invalid("fewer principals with root keys than the threshold");
    }

    checkPlace(event, line) {
      const leaf = helm.merkle.leafDigest(line);
      if (event.seq < this.size && leaf !== this.heads[event.seq]) {
        throw new Fault("CHAIN_FORK", `two rightly signed events number ${event.seq}`);
      }
      if (event.seq !== this.size || event.prev !== (this.heads.at(-1) ?? null)) invalid("an event does not follow the one before it");
      if ((event.event === "genesis") !== (this.size === 0)) invalid("a genesis is the first event, and only the first");
    }

    take(event, added, line, record) {
      if (event.event === "genesis") {
        this.genesis = helm.sha.digest(helm.json.canonical(record.body));
        this.deployment = event.deployment ?? "helm.local/" + this.genesis.slice(7, 23);
        this.threshold = event.threshold;
      }
      this.size += 1;
      this.heads.push(helm.merkle.leafDigest(line));
      for (const key of added) {
        this.publics.add(key.public);
        this.keys.set(key.id, { ...key, since: this.size });
        if (key.purpose === "root") this.roots.set(key.id, key);
      }
    }
  }

  // Steps 1 to 3: an event with its keys, each a canonical point of prime order.
  function readEvent(record) {
    if (record.kind !== "trust") unsupported(`a record of the kind \`${record.kind}\``);
    const event = record.body.get("event");
    if (event !== "genesis" && event !== "add") unsupported(`an event \`${String(event).slice(0, 64)}\``);
    const fields = (event === "genesis" ? GENESIS : ADD)(record.body, "event");
    if (event === "genesis") {
      if (fields.deployment !== null && !DEPLOYMENT.test(fields.deployment)) invalid("a deployment's name is none");
      helm.forms.ascending(fields.roots.map((root) => root.public), "roots");
      fields.roots = fields.roots.map((root) => readKey({ ...root, purpose: "root", log: null }));
      const principals = new Set(fields.roots.map((root) => root.principal.toLowerCase())).size;
      if (fields.threshold < 1 || fields.threshold > principals) invalid("a threshold that the roots cannot reach, or none");
    } else {
      fields.key = readKey(fields.key);
      if (fields.key.purpose === "root") invalid("an `add` adds no root");
    }
    return fields;
  }

  function readKey(key) {
    if (key.scheme !== helm.keys.SCHEME) unsupported("a key of another scheme");
    if (!helm.keys.PURPOSES.includes(key.purpose)) unsupported("a key for an unknown purpose");
    const bytes = helm.bytes.unbase64(key.public);
    if (bytes === null || bytes.length !== 32) malformed("a public key is not base64 of 32 bytes");
    helm.ed25519.checkRegistered(bytes);
    if (!PRINCIPAL.test(key.principal)) invalid("a principal is not 1 to 128 visible characters");
    const machine = helm.keys.MACHINES.includes(key.purpose);
    if (machine ? key.log === null || !ORIGIN.test(key.log) : key.log !== null) invalid("a machine's key, and no other, has a log");
    return { ...key, bytes, id: helm.keys.keyId(key.purpose, bytes) };
  }

  // The registry of a pack's file, or null and a Fault in `found`: what replays only up to some event is no registry
  // for a verifier, for what would be missing in it could be anything. Behind another genesis than the pinned one
  // nothing is read.
  async function replay(file, pinned, found) {
    const registry = new Registry();
    try {
      if (file.length && file.at(-1) !== 10) malformed("the registry does not end with a newline");
      const lines = helm.pack.linesOf(file, EVENTS_MAX + 1);
      if (!lines.length) invalid("no genesis");
      for (const line of lines) {
        await registry.append(line);
        if (registry.size % 16 === 0) await new Promise((resolve) => setTimeout(resolve)); // let a page breathe
        if (registry.size > 1 || pinned === null || registry.genesis === pinned) continue;
        throw new Fault("KEY_UNKNOWN", `the registry begins with ${registry.genesis}, pinned is ${pinned}`);
      }
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      found(fault);
      return null;
    }
    return registry;
  }

  return { replay, ORIGIN };
})();

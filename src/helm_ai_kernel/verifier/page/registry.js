// The trust registry (registry.md): who may sign what, folded from its genesis, one verified event after the other.
// The first event that fails ends it, and then the registry is what it was before that event.
helm.registry = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { object, listOf, text, stringOf, time, id, count, orNull, unsupported, malformed } = helm.forms;
  const EVENTS_MAX = 4096; // a key a day for eleven years
  const PRINCIPAL = /^[!-~]{1,128}$/;
  const DEPLOYMENT = /^(?!.*\+)[!-~]{1,200}$/;
  const ORIGIN = /^(?!.*\+)[!-~]{1,256}$/;

  const KEY = { scheme: stringOf(0, 32), public: stringOf(0, 64), principal: stringOf(0, 128) };
  const EVERY = { at: time, v: asItIs, kind: text, event: text, signers: listOf(text) };
  const GENESIS = object({
    ...EVERY,
    seq: genesisSeq,
    prev: genesisPrev,
    nonce: id,
    roots: (roots, field) => listOf(object(KEY), 0, Infinity)(roots, field).map((root) => readKey({ ...root, purpose: "root", log: null })),
    threshold: count,
    deployment: asItIs,
  });
  const ADD = object({
    ...EVERY,
    key: (key, field) => readKey(object({ ...KEY, purpose: text, log: orNull(text) })(key, field)),
    seq: asItIs, // its form, and that of `prev`, is looked at where its place is
    prev: asItIs,
  });

  function asItIs(value) {
    return value;
  }

  function genesisSeq(seq, field) {
    return count(seq, field) === 0 ? 0 : invalid("a genesis has `seq` 0");
  }

  function genesisPrev(prev) {
    return prev === null ? null : invalid("a genesis follows nothing");
  }

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
      const event = readEvent(record, this.size === 0);
      const added = event.event === "genesis" ? event.roots : [event.key];
      if (event.event === "genesis") this.checkGenesis(event, record);
      else this.checkAdd(event, record);
      for (const signature of record.signatures) {
        const key = added.find((one) => one.id === signature.key) ?? this.roots.get(signature.key);
        await helm.record.verify(record, signature, key);
      }
      if (this.size === 0) checkDeployment(event.deployment);
      else this.checkPlace(event, line);
      for (const key of added) {
        if (this.publics.has(key.public)) invalid("a public key is registered a second time");
      }
      this.take(event, added, line, record);
    }

    checkGenesis(event, record) {
      const ids = event.roots.map((root) => root.id).sort();
      const signers = record.signatures.map((signature) => signature.key);
      if (String(ids) !== String(signers)) invalid("a genesis is signed by each of its roots and nobody else");
      const principals = new Set(event.roots.map((root) => root.principal.toLowerCase())).size;
      if (event.threshold < 1 || event.threshold > principals) invalid("a threshold that the roots cannot reach, or none");
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
      count(event.seq, "seq");
      helm.forms.digest(event.prev, "prev");
      const leaf = helm.merkle.leafDigest(line);
      if (event.seq < this.size && leaf !== this.heads[event.seq]) {
        throw new Fault("CHAIN_FORK", `two rightly signed events number ${event.seq}`);
      }
      if (event.seq !== this.size || event.prev !== this.heads.at(-1)) invalid("an event does not follow the one before it");
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
  function readEvent(record, isFirst) {
    if (record.kind !== "trust") unsupported(`a record of the kind \`${record.kind}\``);
    time(record.body.get("at"), "at");
    const event = record.body.get("event");
    if ((event === "genesis") !== isFirst && (isFirst || event === "genesis")) invalid("a genesis is the first event, and only the first");
    if (!isFirst && event !== "add") unsupported(`an event \`${String(event).slice(0, 64)}\``);
    const fields = (isFirst ? GENESIS : ADD)(record.body, "event");
    if (!isFirst && fields.key.purpose === "root") invalid("an `add` adds no root");
    if (isFirst && !isAscending(fields.roots.map((root) => root.public))) invalid("`roots` is empty, unsorted or names a key twice");
    return fields;
  }

  function isAscending(items) {
    return items.length > 0 && items.every((item, at) => at === 0 || items[at - 1] < item); // base64: all ASCII
  }

  function checkDeployment(deployment) {
    if (deployment !== null && !DEPLOYMENT.test(stringOf(0, 200)(deployment, "deployment"))) invalid("a deployment's name is none");
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

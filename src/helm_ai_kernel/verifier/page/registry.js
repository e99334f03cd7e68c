// The trust registry (registry.md): who may sign what, and when, folded from its genesis, one verified event after the
// other. The first event that fails ends it, and then the registry is what it was before that event.
helm.registry = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { stringOf, count, malformed } = helm.forms;
  const EVENTS_MAX = 4096; // a key a day for eleven years
  const DEPLOYMENT = /^(?!.*\+)[!-~]{1,200}$/;

  function invalid(what) {
    throw new Fault("REGISTRY_INVALID", what);
  }

  const isInForce = (key) => key.until === Infinity;
  const { holders } = helm.events;

  class Registry {
    constructor() {
      this.size = 0;
      this.heads = []; // the leaf of each event's line
      this.keys = new Map(); // id -> {id, purpose, bytes, principal, log, since, until (Infinity: in force), stolen (since when, or null)}
      this.publics = new Set();
      this.roots = new Map(); // those in force
      this.threshold = 0;
      this.thresholds = []; // [size from which on, threshold]
      this.genesis = null;
      this.deployment = null;
    }

    // A key that came into force at this size or before it, if the registry is that large. It may have ended since.
    keyAt(keyId, size) {
      const key = this.keys.get(keyId);
      return key && size <= this.size && key.since <= size ? key : null;
    }

    headAt(size) {
      return size <= this.size ? (this.heads[size - 1] ?? null) : null;
    }

    // How many principals with a root had to agree at that size, which some event made.
    thresholdAt(size) {
      return this.thresholds.findLast(([since]) => since <= size)[1];
    }

    // Those of a log, whether in force or not, the youngest first.
    logKeys(origin) {
      return [...this.keys.values()].filter((key) => key.purpose === "log" && key.log === origin).sort((a, b) => b.since - a.since);
    }

    // One event more, or a Fault and the registry as it was.
    async append(line) {
      if (this.size >= EVENTS_MAX) invalid(`more than ${EVENTS_MAX} events`);
      const record = helm.record.read(line);
      const event = helm.events.read(record, this.size === 0);
      this.checkSigners(event, record);
      for (const signature of record.signatures) {
        const key = event.added.find((one) => one.id === signature.key) ?? this.roots.get(signature.key);
        await helm.record.verify(record, signature, key);
      }
      if (this.size === 0) checkDeployment(event.deployment);
      else this.checkPlace(event, line);
      this.checkKeys(event);
      this.take(event, line, record);
    }

    // A new key signs, to prove that whoever adds it has it, and counts for no threshold.
    checkSigners(event, record) {
      const signers = record.signatures.map((signature) => signature.key);
      const added = event.added.map((key) => key.id);
      if (added.some((one) => !signers.includes(one))) invalid("a key did not sign its own event");
      const others = signers.filter((signer) => !added.includes(signer));
      if (event.event === "genesis") {
        if (others.length) invalid("a genesis is signed by each of its roots and nobody else");
        return;
      }
      if (event.event === "revoke" && others.includes(event.ends)) invalid("a key signed its own revocation");
      const roots = others.map((signer) => this.roots.get(signer));
      if (roots.includes(undefined)) invalid("an event is signed by a key that is no root in force");
      const needed = Math.max(this.threshold, event.threshold ?? 0); // a new threshold is reached, and so is the old one
      if (holders(roots) < needed) invalid("fewer principals with root keys than the threshold");
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

    // Whether the event may happen: keys come once, end once, and what is left can go on signing.
    checkKeys(event) {
      for (const key of event.added) if (this.publics.has(key.public)) invalid("a public key is registered a second time");
      if (event.event === "rotate") this.checkRotate(event);
      if (event.event === "revoke") this.checkRevoke(event);
      // The last root cannot go, nor so many that nobody could sign the next event.
      const roots = [...this.roots.values()].filter((root) => root.id !== event.ends);
      roots.push(...event.added.filter((key) => key.purpose === "root"));
      const threshold = event.threshold ?? this.threshold;
      if (threshold > holders(roots)) invalid("a threshold that the roots cannot reach");
    }

    checkRotate({ added: [key], ends }) {
      const old = this.keys.get(ends);
      const same = old && isInForce(old) && ["purpose", "principal", "log"].every((field) => old[field] === key[field]);
      if (!same) invalid("a key takes the place of none in force with its purpose, principal and log");
    }

    checkRevoke({ ends, reason }) {
      const old = this.keys.get(ends);
      // One learns of a theft after the rotation.
      const late = reason === "compromise" && old && old.stolen === null;
      if (!old || (!isInForce(old) && !late)) invalid("a key is revoked that is not in force");
      if (!helm.keys.MACHINES.includes(old.purpose)) return;
      const others = [...this.keys.values()].filter((key) => key.purpose === old.purpose && isInForce(key) && key !== old);
      if (!others.length) invalid(`the last key for \`${old.purpose}\` is revoked`);
    }

    take(event, line, record) {
      if (event.event === "genesis") {
        this.genesis = helm.sha.digest(helm.json.canonical(record.body));
        this.deployment = event.deployment ?? "helm.local/" + this.genesis.slice(7, 23);
      }
      this.size += 1;
      this.heads.push(helm.merkle.leafDigest(line));
      this.threshold = event.threshold ?? this.threshold;
      if (event.threshold !== null) this.thresholds.push([this.size, event.threshold]);
      const ended = this.keys.get(event.ends);
      if (ended) {
        ended.until = Math.min(ended.until, this.size);
        ended.stolen ??= event.since ?? null; // only a compromise says since when
        this.roots.delete(ended.id);
      }
      for (const added of event.added) {
        const key = { ...added, since: this.size, until: Infinity, stolen: null };
        this.publics.add(key.public);
        this.keys.set(key.id, key);
        if (key.purpose === "root") this.roots.set(key.id, key);
      }
    }
  }

  function checkDeployment(deployment) {
    if (deployment !== null && !DEPLOYMENT.test(stringOf(0, 200)(deployment, "deployment"))) invalid("a deployment's name is none");
  }

  // What is asked of a key that signed, in this order: whether it was there at the size of the registry that is relied
  // on, and the registry is that large, for an event that is not at hand could be a revocation; whether it had ended by
  // then; and whether it was stolen, for whoever has it can write what looks older, unless witnesses had seen what it
  // signed before the theft. Each is a Fault, or nothing.
  const QUESTIONS = [
    (registry, id, size) => !registry.keyAt(id, size) && new Fault("KEY_UNKNOWN", `key \`${id}\` is not in the registry at size ${size}`),
    (registry, id, size) => registry.keys.get(id).until <= size && new Fault("KEY_REVOKED", `key \`${id}\` is not in force any more at size ${size}`),
    (registry, id, _size, seen) => isStolen(registry.keys.get(id), seen) && new Fault("KEY_COMPROMISED_UNANCHORED", `key \`${id}\` was revoked as compromised, and no witness saw before when it signed`),
  ];

  // Times in their one form compare as text.
  function isStolen({ stolen }, seen) {
    return stolen !== null && !(seen !== null && seen < stolen);
  }

  // The keys of these signers, one asked after the other; or the first Fault.
  function keysAt(registry, ids, size, seen) {
    return ids.map((id) => {
      for (const ask of QUESTIONS) {
        const fault = ask(registry, id, size, seen);
        if (fault) throw fault;
      }
      return registry.keys.get(id);
    });
  }

  // The registry of a pack's file, or null and a Fault in `found`: what replays only up to some event is no registry
  // for a verifier, for what would be missing in it could be anything. Behind another genesis than the pinned one
  // nothing is read.
  async function replay(source, place, pinned, found) {
    const registry = new Registry();
    try {
      if (!(await helm.lines.endsWhole(source, place))) malformed("the registry does not end with a newline");
      for await (const lines of helm.lines.lists(source, place)) {
        for (const { bytes } of lines) {
          await registry.append(bytes);
          if (registry.size > 1 || pinned === null || registry.genesis === pinned) continue;
          throw new Fault("KEY_UNKNOWN", `the registry begins with ${registry.genesis}, pinned is ${pinned}`);
        }
      }
      if (!registry.size) invalid("no genesis");
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      found(fault);
      return null;
    }
    return registry;
  }

  return { replay, keysAt };
})();

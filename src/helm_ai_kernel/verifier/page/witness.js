// V16: when which witness saw a checkpoint (witness.md, after C2SP tlog-cosignature). A note with a line that claims to be
// a listed witness's and is not has been seen by nobody.
helm.witness = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const SIGNATURE_BYTES = 8 + 64; // a time, and an Ed25519 signature
  const SECONDS_MAX = 253402300799n; // the end of the year 9999
  const UNSEEN = { since: null, until: null };

  // {since, until}: the first and the last time between which a quorum had cosigned, or nulls; a Fault otherwise.
  async function timesOf(checkpoint, policy) {
    if (policy === null) return UNSEEN;
    const times = new Map(); // name -> seconds
    for (const [name, witness] of policy.witnesses) {
      const time = await timeBy(witness, checkpoint);
      if (time !== null) times.set(name, time);
    }
    const sorted = [...times.values()].sort((a, b) => a - b);
    const those = (holds) => new Set([...times].filter(([, time]) => holds(time)).map(([name]) => name));
    const since = sorted.find((last) => policy.satisfied(those((time) => time <= last)));
    const until = sorted.reverse().find((first) => policy.satisfied(those((time) => time >= first)));
    return since === undefined ? UNSEEN : { since: written(since), until: written(until) };
  }

  async function timeBy({ name, hash, key }, { signatures, text }) {
    const lines = signatures.filter((line) => line.name === name && helm.bytes.equal(line.hash, hash));
    if (!lines.length) return null;
    const [{ bytes }] = lines;
    const refuse = (what) => helm.checkpoint.refuse(`the cosignature of \`${name}\` ${what}`);
    if (lines.length > 1) refuse("is there twice");
    if (bytes.length !== SIGNATURE_BYTES) refuse("has not 76 bytes");
    const seconds = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0);
    if (seconds < 1n || seconds > SECONDS_MAX) refuse("has a time that is none");
    const { utf8, join } = helm.bytes;
    const message = join(utf8(`cosignature/v1\ntime ${seconds}\n`), text);
    try {
      await helm.ed25519.verify(key, message, bytes.subarray(8));
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      refuse("does not verify");
    }
    return Number(seconds);
  }

  function written(seconds) {
    return new Date(seconds * 1000).toISOString();
  }

  return { timesOf, UNSEEN };
})();

// The checkpoint (log.md): a C2SP tlog-checkpoint in a signed note. What was parsed is encoded again and compared, so a
// checkpoint has one form. Every failure is CHECKPOINT_SIG.
helm.checkpoint = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const BYTES_MAX = 128 * 1024;
  const SIGNATURES_MAX = 64;
  const LOG_LINE = 1;
  const CONTROL = /[\u0000-\u0009\u000b-\u001f]/; // C2SP signed-note refuses no others
  const SIZE = /^(0|[1-9][0-9]{0,15})$/;
  const SIGNATURE = /^\u2014 ([^ +]+) ([A-Za-z0-9+/=]+)$/u;

  function refuse(what) {
    throw new Fault("CHECKPOINT_SIG", what);
  }

  // {origin, size, root (bytes), text (the signed bytes), signatures: [{name, hash, bytes}]}
  function read(bytes) {
    if (bytes.length > BYTES_MAX) refuse("a checkpoint is longer than " + BYTES_MAX);
    const note = helm.bytes.text(bytes);
    if (note === null || CONTROL.test(note)) refuse("a checkpoint is no text");
    const [origin, size, root, empty, ...rest] = note.split("\n");
    if (empty !== "" || rest.pop() !== "" || !rest.length || rest.length > SIGNATURES_MAX) refuse("a checkpoint is no signed note");
    if (!helm.events.ORIGIN.test(origin)) refuse("an origin is none");
    if (!SIZE.test(size) || !Number.isSafeInteger(Number(size))) refuse("a size is none");
    const rootBytes = helm.bytes.unbase64(root);
    if (rootBytes === null || rootBytes.length !== 32) refuse("a root is not base64 of 32 bytes");
    const text = helm.bytes.utf8(`${origin}\n${size}\n${root}\n`);
    return { origin, size: Number(size), root: rootBytes, text, signatures: rest.map(readSignature) };
  }

  function readSignature(line) {
    const [, name, spelled] = SIGNATURE.exec(line) ?? refuse("a signature line is none");
    const bytes = helm.bytes.unbase64(spelled);
    if (bytes === null || bytes.length <= 4 || !isName(name)) refuse("a signature line is none");
    return { name, hash: bytes.subarray(0, 4), bytes: bytes.subarray(4) };
  }

  // Of 1 to 256 characters, none of them `+` or white space.
  function isName(name) {
    return /^[^+\p{White_Space}]+$/u.test(name) && (name.length <= 256 || [...name].length <= 256);
  }

  // C2SP signed-note: what a line says besides its name. `type` is 1 of a log's own line, 4 of a cosignature.
  function keyHash(name, type, publicKey) {
    const { utf8, join } = helm.bytes;
    return helm.sha.sha256(join(utf8(name), Uint8Array.of(0x0a, type), publicKey)).subarray(0, 4);
  }

  // The youngest of the log keys that the registry names for this log and that signed it stands at the largest size of
  // the registry that a receipt under the checkpoint relies on. It may be younger than these receipts: who takes over a
  // log signs for what a crash has left. `seen`: when witnesses saw it, or null.
  async function verify(checkpoint, registry, trustSize, seen) {
    const key = await signerOf(checkpoint, registry);
    helm.registry.keysAt(registry, [key.id], Math.max(trustSize, key.since), seen);
  }

  // Exactly one line has the log's name and that key's hash, and it verifies.
  async function signerOf(checkpoint, registry) {
    for (const key of registry.logKeys(checkpoint.origin)) if (await isSignedBy(checkpoint, key)) return key;
    refuse("a checkpoint is not signed, once, by a log key that the registry names for its log");
  }

  async function isSignedBy({ origin, signatures, text }, key) {
    const hash = keyHash(origin, LOG_LINE, key.bytes);
    const own = signatures.filter((line) => line.name === origin && helm.bytes.equal(line.hash, hash));
    if (own.length !== 1) return false;
    try {
      await helm.ed25519.verify(key.bytes, text, own[0].bytes);
      return true;
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return false;
    }
  }

  return { read, verify, signerOf, keyHash, isName, refuse, BYTES_MAX };
})();

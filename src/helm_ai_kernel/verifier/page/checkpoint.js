// The checkpoint (log.md): a C2SP tlog-checkpoint in a signed note. What was parsed is encoded again and compared, so a
// checkpoint has one form. Every failure is CHECKPOINT_SIG.
helm.checkpoint = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const BYTES_MAX = 128 * 1024;
  const SIGNATURES_MAX = 64;
  const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;
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
    if (!helm.registry.ORIGIN.test(origin)) refuse("an origin is none");
    if (!SIZE.test(size) || !Number.isSafeInteger(Number(size))) refuse("a size is none");
    const rootBytes = helm.bytes.unbase64(root);
    if (rootBytes === null || rootBytes.length !== 32) refuse("a root is not base64 of 32 bytes");
    const text = helm.bytes.utf8(`${origin}\n${size}\n${root}\n`);
    return { origin, size: Number(size), root: rootBytes, text, signatures: rest.map(readSignature) };
  }

  function readSignature(line) {
    const [, name, spelled] = SIGNATURE.exec(line) ?? refuse("a signature line is none");
    const bytes = helm.bytes.unbase64(spelled);
    const long = name.length > 256 && [...name].length > 256;
    if (bytes === null || bytes.length <= 4 || /\p{White_Space}/u.test(name) || long) refuse("a signature line is none");
    return { name, hash: bytes.subarray(0, 4), bytes: bytes.subarray(4) };
  }

  function keyHash(name, publicKey) {
    const { utf8, join } = helm.bytes;
    return helm.sha.sha256(join(utf8(name), Uint8Array.of(0x0a, 0x01), publicKey)).subarray(0, 4);
  }

  // Exactly one line has the log's name and the hash of a key that the registry names for this log, and it verifies.
  // `log` is what the pack says that it is of: where that is not the origin, V6 has found it already, and a key for
  // either will do here.
  async function verify(checkpoint, registry, log = checkpoint.origin) {
    const { origin } = checkpoint;
    const own = checkpoint.signatures.filter((signature) => signature.name === origin);
    const pairs = registry.logKeys(origin, log).flatMap((key) => {
      const hash = keyHash(origin, key.bytes);
      return own.filter((line) => helm.bytes.equal(line.hash, hash)).map((line) => [key, line]);
    });
    if (pairs.length !== 1) refuse("a checkpoint is not signed, once, by a log key that the registry names for its log");
    const [[key, line]] = pairs;
    try {
      await helm.ed25519.verify(key.bytes, checkpoint.text, line.bytes);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      refuse("the signature of a checkpoint does not verify");
    }
  }

  return { read, verify };
})();

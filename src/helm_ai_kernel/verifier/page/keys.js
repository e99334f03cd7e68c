// Purposes and ids of keys (keys.md). An id is computed from scheme, purpose and public key, never read.
helm.keys = (() => {
  "use strict";
  const SCHEME = "ed25519"; // the only one of version 1
  const PURPOSES = ["root", "approval", "execution", "log", "witness", "release"];
  const MACHINES = ["execution", "log"];
  const PEOPLES = ["approval", "root"]; // who may sign a statement

  function keyId(purpose, publicKey) {
    const { utf8, join, hex } = helm.bytes;
    const parts = [utf8("helm-key/v1"), utf8(SCHEME), utf8(purpose), publicKey];
    const measured = parts.flatMap((part) => [lengthOf(part), part]);
    return SCHEME + ":" + hex(helm.sha.sha256(join(...measured)));
  }

  function lengthOf(part) {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setUint32(0, part.length, true);
    return bytes;
  }

  return { SCHEME, PURPOSES, MACHINES, PEOPLES, keyId };
})();

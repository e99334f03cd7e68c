// The signed record (record.md): one line of canonical JSON, `{body, sigs}`. Reading checks the form and that the line
// has its one form; who signed, and whether the signatures verify, is asked later, against a registry from outside.
helm.record = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { malformed, unsupported } = helm.forms;
  const KIND_MAX = 32;
  const SIGNATURES_MAX = 64;
  const KEY_ID = /^([a-z][a-z0-9-]{0,30}):[0-9a-f]{64}$/;
  const SIGNATURE = helm.forms.object({ key: helm.forms.stringOf(0, 96), sig: helm.forms.stringOf(0, 88) });

  // A record read from its line: {kind, body (a Map), payload (the bytes of it), signatures: [{key, bytes}]}.
  function read(line) {
    const { value, text } = helm.json.readBoth(line);
    const record = fromValue(value);
    if (!helm.json.isCanonical(value, text)) throw new Fault("NON_CANONICAL", "a line is not the canonical form of what it says");
    const behind = ',"sigs":'.length + helm.json.canonicalText(value.get("sigs")).length + "}".length; // all of it ASCII
    return { ...record, payload: line.subarray('{"body":'.length, line.length - behind) };
  }

  // A record that stands inside another one, and whose line is the canonical form of it.
  function nested(value) {
    const record = fromValue(value);
    return { ...record, payload: helm.json.canonical(record.body) };
  }

  function fromValue(value) {
    const { body, sigs } = helm.forms.object({ body: mapped, sigs: (list) => list })(value, "record");
    const kind = helm.forms.stringOf(0, KIND_MAX)(body.get("kind"), "kind");
    if (body.get("v") !== 1) unsupported("a record of another version, or of none");
    const signatures = helm.forms.listOf(signatureOf, 1, SIGNATURES_MAX)(sigs, "sigs");
    helm.forms.ascending(signatures.map(({ key }) => key), "sigs");
    const signers = helm.forms.listOf(helm.forms.text, 0, Infinity)(body.get("signers"), "signers");
    if (signers.length !== sigs.length || signers.some((signer, at) => signer !== signatures[at].key)) {
      refuse("`signers` are not the keys of `sigs`");
    }
    return { kind, body, signatures };
  }

  function mapped(value, field) {
    return value instanceof Map ? value : malformed(`\`${field}\` is no object`);
  }

  function signatureOf(value) {
    if (value instanceof Map && value.has("proof")) unsupported("a signature with a `proof`");
    const { key, sig } = SIGNATURE(value, "sigs");
    const [, scheme] = KEY_ID.exec(key) ?? refuse("the id of a key is none");
    if (scheme !== helm.keys.SCHEME) unsupported(`a signature of the scheme \`${scheme}\``);
    const bytes = helm.bytes.unbase64(sig);
    return bytes?.length === 64 ? { key, bytes } : refuse("a signature is not base64 of 64 bytes");
  }

  function refuse(what) {
    throw new Fault("SIG_INVALID", what);
  }

  // The DSSE pre-authentication encoding: what every signature of the record is over.
  function signedBytes({ kind, payload }) {
    const { utf8, join } = helm.bytes;
    const type = `application/vnd.helm.${kind}.v1+json`;
    return join(utf8(`DSSEv1 ${utf8(type).length} ${type} ${payload.length} `), payload);
  }

  // One signature of a record by a key that a registry gave.
  function verify(record, signature, key) {
    return helm.ed25519.verify(key.bytes, signedBytes(record), signature.bytes);
  }

  return { read, nested, signedBytes, verify };
})();

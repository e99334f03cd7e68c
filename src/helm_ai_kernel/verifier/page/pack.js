// The entries of an evidence pack and its manifest (pack.md). Nobody signs the manifest, and nothing in it is believed:
// each field is compared with what is there.
helm.pack = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { digest, digests, count, stringOf, object, malformed, unsupported } = helm.forms;
  const NEEDED = ["manifest.json", "receipts.jsonl", "checkpoint.txt", "trust.jsonl"];
  const PROOF = "proofs/inclusion.json";
  const COSIGNED = /^cosigned\/(0|[1-9][0-9]{0,15})\.txt$/;
  const OTHERS = /^(policy\/[0-9a-f]{64}\/.+|catalog\/[0-9a-f]{64}\.json)$/;
  const ATTACHMENT = /^attachments\/([0-9a-f]{64})$/;
  const MANIFEST_BYTES_MAX = 4 << 20;
  const ENTRIES_MAX = 1 << 16; // but attachments: no manifest of 4 MiB has so many names
  const COSIGNED_MAX = 4096;
  const LOG_MAX = 256;

  // V1
  async function open(source, progress) {
    const pack = new Pack(source);
    await helm.tar.walk(source, (name, place) => pack.take(name, place), progress);
    helm.tar.checkTwins([...pack.places.keys()]); // an attachment's name has no twin that any entry could have
    for (const name of NEEDED) if (!pack.places.has(name)) malformed(`\`${name}\` is missing`);
    if (pack.cosigned.length > COSIGNED_MAX) malformed(`more than ${COSIGNED_MAX} cosigned checkpoints`);
    if (pack.isPart && pack.cosigned.length) malformed("a part of a log has no cosigned checkpoints");
    return pack;
  }

  class Pack {
    constructor(source) {
      this.source = source;
      this.places = new Map(); // name -> {at, size}, of all entries but attachments
      this.attachments = new helm.attachments.Attachments(source);
      this.cosigned = []; // their names
    }

    get isPart() {
      return this.places.has(PROOF);
    }

    take(name, place) {
      const [, hex] = ATTACHMENT.exec(name) ?? [];
      if (hex) return this.attachments.take(hex, place);
      if (COSIGNED.test(name)) this.cosigned.push(name);
      else if (!NEEDED.includes(name) && name !== PROOF && !OTHERS.test(name)) malformed(`no pack has an entry \`${name}\``);
      if (this.places.size === ENTRIES_MAX) malformed(`more than ${ENTRIES_MAX} entries that are no attachments`);
      this.places.set(name, place);
    }

    // The content of an entry; a Fault where it is longer than what it is can be.
    async bytes(name, bytesMax, refuse = malformed) {
      const { at, size } = this.places.get(name);
      if (size > bytesMax) refuse(`\`${name}\` is longer than ${bytesMax} bytes`);
      return this.source.read(at, size);
    }

    async digest(name) {
      return "sha256:" + helm.bytes.hex(await helm.source.hash(this.source, this.places.get(name)));
    }
  }

  const MANIFEST = object({
    v: (value) => value,
    kind: (value) => value,
    log: stringOf(0, LOG_MAX),
    size: count,
    root: digest,
    files: digests,
    withheld: count,
  });

  // V2: the manifest's own form.
  async function readManifest(pack) {
    const bytes = await pack.bytes("manifest.json", MANIFEST_BYTES_MAX);
    const { value, text } = helm.json.readBoth(bytes, MANIFEST_BYTES_MAX);
    if (value instanceof Map && (value.get("v") !== 1 || value.get("kind") !== "pack")) unsupported("a manifest of another version or kind");
    if (!helm.json.isCanonical(value, text)) throw new Fault("NON_CANONICAL", "the manifest is not canonical");
    return MANIFEST(value, "manifest");
  }

  // V2: exactly the other entries but attachments. `receipts`: the digest of theirs, which were read already.
  async function compareFiles(manifest, pack, receipts, found) {
    const mismatch = (what) => found(new Fault("MANIFEST_MISMATCH", what));
    for (const name of pack.places.keys()) {
      if (name === "manifest.json") continue;
      const listed = manifest.files.get(name);
      if (listed === undefined) mismatch(`\`${name}\` is not in the manifest`);
      else if (listed !== (name === "receipts.jsonl" ? receipts : await pack.digest(name))) mismatch(`\`${name}\` has another digest than the manifest says`);
    }
    for (const name of manifest.files.keys()) {
      if (name === "manifest.json" || !pack.places.has(name)) mismatch(`the manifest lists \`${name}\`, and it is not here, or not to be listed`);
    }
  }

  return { open, readManifest, compareFiles, PROOF };
})();

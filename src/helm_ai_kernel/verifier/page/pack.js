// The entries of an evidence pack and its manifest (pack.md). Nobody signs the manifest, and nothing in it is believed:
// each field is compared with what is there.
helm.pack = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { digest, count, text, stringOf, object, listOf, malformed, unsupported } = helm.forms;
  const NEEDED = ["manifest.json", "receipts.jsonl", "checkpoint.txt", "trust.jsonl"];
  const OTHERS = /^(policy\/[0-9a-f]{64}\/.+|catalog\/[0-9a-f]{64}\.json|attachments\/[0-9a-f]{64})$/;
  const MANIFEST_BYTES_MAX = 1 << 28;
  const POLICY_BYTES_MAX = 64 << 10;
  const LOG_MAX = 256;
  const POLICY_MANIFEST = object({ v: version, catalog: digest, files: digests, protected: listOf(text, 0, 1 << 20) });

  // V1
  function read(bytes) {
    const entries = helm.tar.read(bytes);
    for (const name of NEEDED) if (!entries.has(name)) malformed(`\`${name}\` is missing`);
    for (const name of entries.keys()) {
      if (!NEEDED.includes(name) && !OTHERS.test(name)) malformed(`no pack has an entry \`${name}\``);
    }
    return entries;
  }

  function digests(value, field) {
    if (!(value instanceof Map)) malformed(`\`${field}\` is no object`);
    for (const one of value.values()) digest(one, field);
    return value;
  }

  const MANIFEST = object({
    v: (value) => value,
    kind: (value) => value,
    log: stringOf(0, LOG_MAX),
    size: count,
    root: digest,
    files: digests,
    withheld: listOf(digest, 0, Infinity),
  });

  // V2: the manifest's own form.
  function readManifest(bytes) {
    const value = helm.json.read(bytes, MANIFEST_BYTES_MAX);
    if (value instanceof Map && (value.get("v") !== 1 || value.get("kind") !== "pack")) unsupported("a manifest of another version or kind");
    if (!helm.json.isCanonical(value, bytes)) throw new Fault("NON_CANONICAL", "the manifest is not canonical");
    return MANIFEST(value, "manifest");
  }

  // V2: exactly the other entries with their digests.
  function compareFiles(manifest, entries, found) {
    const mismatch = (what) => found(new Fault("MANIFEST_MISMATCH", what));
    for (const [name, bytes] of entries) {
      if (name === "manifest.json") continue;
      const listed = manifest.files.get(name);
      if (listed === undefined) mismatch(`\`${name}\` is not in the manifest`);
      else if (listed !== helm.sha.digest(bytes)) mismatch(`\`${name}\` has another digest than the manifest says`);
    }
    for (const name of manifest.files.keys()) {
      if (name === "manifest.json" || !entries.has(name)) mismatch(`the manifest lists \`${name}\`, and it is not here`);
    }
  }

  // The policies of the pack: digest -> {catalog, sound}: the catalogue that it is bound to, null where its manifest
  // cannot be believed.
  function readPolicies(entries, found) {
    const folders = new Map();
    for (const [name, bytes] of entries) {
      const [, hex, file] = /^policy\/([0-9a-f]{64})\/(.+)$/.exec(name) ?? [];
      if (!hex) continue;
      if (!folders.has(hex)) folders.set(hex, new Map());
      folders.get(hex).set(file, bytes);
    }
    const policies = new Map();
    for (const [hex, files] of folders) policies.set("sha256:" + hex, readPolicy("sha256:" + hex, files, found));
    return policies;
  }

  function readPolicy(name, files, found) {
    const mismatch = (what) => found(new Fault("MANIFEST_MISMATCH", `policy \`${name}\`: ${what}`));
    const bytes = files.get("manifest.json");
    if (!bytes) return mismatch("it has no manifest"), { catalog: null };
    if (helm.sha.digest(bytes) !== name) return mismatch("its manifest has another digest"), { catalog: null };
    let manifest;
    try {
      manifest = readPolicyManifest(bytes);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      if (fault.code === "UNSUPPORTED") found(fault);
      else mismatch(fault.message);
      return { catalog: null };
    }
    const here = [...files].filter(([file]) => file !== "manifest.json");
    const same = here.length === manifest.files.size && here.every(([file, content]) => manifest.files.get(file) === helm.sha.digest(content));
    return same ? { catalog: manifest.catalog } : (mismatch("its files are not those of its manifest"), { catalog: null });
  }

  function readPolicyManifest(bytes) {
    const value = helm.json.readCanonical(bytes, POLICY_BYTES_MAX);
    return POLICY_MANIFEST(value, "manifest");
  }

  function version(value, field) {
    return count(value, field) === 1 ? value : unsupported("a policy of another version");
  }

  // The catalogues of the pack, by digest.
  function readCatalogs(entries, found) {
    const catalogs = new Set();
    for (const [name, bytes] of entries) {
      const [, hex] = /^catalog\/([0-9a-f]{64})\.json$/.exec(name) ?? [];
      if (!hex) continue;
      catalogs.add("sha256:" + hex);
      if (helm.sha.digest(bytes) !== "sha256:" + hex) found(new Fault("MANIFEST_MISMATCH", `\`${name}\` has another digest`));
    }
    return catalogs;
  }

  // The lines of a file of lines. A last one without its newline is a line, too, and V2 says that it is torn. `cut` is
  // true if there are more than asked for.
  function linesOf(file, linesMax = Infinity) {
    const lines = [];
    let from = 0;
    while (from < file.length && lines.length < linesMax) {
      const end = file.indexOf(10, from);
      lines.push(file.subarray(from, end < 0 ? file.length : end));
      from = end < 0 ? file.length : end + 1;
    }
    return Object.assign(lines, { cut: from < file.length });
  }

  return { read, readManifest, compareFiles, readPolicies, readCatalogs, linesOf };
})();

// The policies and catalogues of a pack (pack.md, Entries): what stands under a digest has that digest, and a policy's
// files are those of its manifest.
helm.policies = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { digest, digests, count, text, object, listOf, malformed, unsupported } = helm.forms;
  const MANIFEST_BYTES_MAX = 64 << 10;
  const MANIFEST = object({ v: version, catalog: digest, files: digests, protected: listOf(text, 0, 1 << 20) });

  function version(value, field) {
    return count(value, field) === 1 ? value : unsupported("a policy of another version");
  }

  // digest -> {catalog}: the catalogue that the policy is bound to, null where its manifest cannot be believed.
  async function read(pack, found) {
    const folders = new Map();
    for (const name of pack.places.keys()) {
      const [, hex, file] = /^policy\/([0-9a-f]{64})\/(.+)$/.exec(name) ?? [];
      if (!hex) continue;
      if (!folders.has(hex)) folders.set(hex, new Set());
      folders.get(hex).add(file);
    }
    const policies = new Map();
    for (const [hex, files] of folders) {
      const policy = "sha256:" + hex;
      const mismatch = (what) => found(new Fault("MANIFEST_MISMATCH", `policy \`${policy}\`: ${what}`));
      policies.set(policy, { catalog: await readOne(pack, hex, files, found, mismatch) });
    }
    return policies;
  }

  async function readOne(pack, hex, files, found, mismatch) {
    const folder = `policy/${hex}/`;
    if (!files.has("manifest.json")) return mismatch("it has no manifest"), null;
    if ((await pack.digest(folder + "manifest.json")) !== "sha256:" + hex) return mismatch("its manifest has another digest"), null;
    let manifest;
    try {
      const bytes = await pack.bytes(folder + "manifest.json", MANIFEST_BYTES_MAX);
      manifest = MANIFEST(helm.json.readCanonical(bytes, MANIFEST_BYTES_MAX), "manifest");
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      if (fault.code === "UNSUPPORTED") found(fault);
      else mismatch(fault.message);
      return null;
    }
    let same = files.size - 1 === manifest.files.size;
    for (const file of files) {
      if (file !== "manifest.json") same &&= manifest.files.get(file) === (await pack.digest(folder + file));
    }
    return same ? manifest.catalog : (mismatch("its files are not those of its manifest"), null);
  }

  // The catalogues of the pack, by digest.
  async function readCatalogs(pack, found) {
    const catalogs = new Set();
    for (const name of pack.places.keys()) {
      const [, hex] = /^catalog\/([0-9a-f]{64})\.json$/.exec(name) ?? [];
      if (!hex) continue;
      catalogs.add("sha256:" + hex);
      if ((await pack.digest(name)) !== "sha256:" + hex) found(new Fault("MANIFEST_MISMATCH", `\`${name}\` has another digest`));
    }
    return catalogs;
  }

  return { read, readCatalogs };
})();

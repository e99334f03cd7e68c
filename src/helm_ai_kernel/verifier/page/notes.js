// The signed heads in a pack (V8, V16): `checkpoint.txt`, the `cosigned/` checkpoints that tell when witnesses saw the log
// so far, and those of another log that a recovery names.
helm.notes = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const { refuse, BYTES_MAX } = helm.checkpoint;

  function mismatch(what) {
    throw new Fault("DOMAIN_MISMATCH", what);
  }

  class Notes {
    constructor(checklist) {
      Object.assign(this, { checklist, checkpoint: null, cosigned: [] });
      this.seen = helm.witness.UNSEEN; // when, the checkpoint
      this.sightings = [];
    }

    // Their forms, and what witnesses say of them.
    async read() {
      const { pack, findings } = this.checklist;
      const ours = await this.readOne("checkpoint.txt", "checkpoint", "witnesses");
      if (ours) [this.checkpoint, this.seen] = [ours.checkpoint, ours.seen];
      for (const name of pack.cosigned) {
        const note = await this.readOne(name, name, null);
        if (note) this.cosigned.push({ ...note, name });
      }
      this.checkQuorum(findings);
      const seen = [...(ours ? [ours] : []), ...this.cosigned].filter((note) => note.seen.since !== null);
      const covered = ({ size }) => (pack.isPart ? Infinity : size); // a part stands where its proof says, or nowhere
      this.sightings = seen.map((note) => ({ size: covered(note.checkpoint), since: note.seen.since })).sort((a, b) => a.size - b.size);
      // From behind: who saw more saw what is before it, too.
      for (let at = this.sightings.length - 2; at >= 0; at--) {
        const later = this.sightings[at + 1].since;
        if (later < this.sightings[at].since) this.sightings[at].since = later;
      }
    }

    async readOne(name, where, axis) {
      const { pack, findings, policy } = this.checklist;
      const checkpoint = await findings.attempted(8, where, async () => helm.checkpoint.read(await pack.bytes(name, BYTES_MAX, refuse)));
      if (!checkpoint) return null;
      try {
        return { checkpoint, seen: await helm.witness.timesOf(checkpoint, policy) };
      } catch (fault) {
        findings.caught(16, where, fault, { axis });
        return { checkpoint, seen: helm.witness.UNSEEN }; // seen by nobody
      }
    }

    // V16
    checkQuorum(findings) {
      if (this.checklist.policy === null) return;
      if (this.seen.since !== null) findings.axes.all.witnesses = "ok";
      else findings.add(16, "checkpoint", "WITNESS_QUORUM", "no quorum of the witnesses that were asked for cosigned the checkpoint");
    }

    // When witnesses had seen what stands there; null: nobody knows. Asked in the order of the log.
    seenAt(place) {
      while (this.sightings.length && this.sightings[0].size <= place) this.sightings.shift();
      return this.sightings.length ? this.sightings[0].since : null;
    }

    // V8: each tells of these receipts.
    async checkCosigned(tree) {
      const { findings, manifest, registry, reliance } = this.checklist;
      for (const { checkpoint, seen, name } of this.cosigned) {
        const { size, root, origin } = checkpoint;
        const [isNamed, isOurs] = [name === `cosigned/${size}.txt`, origin === manifest.log];
        if (!isNamed) findings.add(8, name, "CHECKPOINT_SIG", "a cosigned checkpoint has another size than its name");
        if (!isOurs) {
          findings.add(6, name, "DOMAIN_MISMATCH", `it is of the log \`${origin}\``);
          continue;
        }
        await findings.attempted(8, name, async () => {
          if (registry) await helm.checkpoint.verify(checkpoint, registry, reliance.largestUnder(size), seen.since);
          const same = size <= tree.size && helm.bytes.equal(tree.rootAt(size), root);
          if (!same) throw new Fault("INCLUSION_FAIL", "its root is not that of the receipts up to its size");
        });
      }
    }
  }

  // V8: the heads that a recovery found of another log; a Fault for the first that is none.
  async function checkHeads(heads, log, registry) {
    for (const head of heads) {
      const checkpoint = helm.checkpoint.read(helm.bytes.utf8(head));
      const { origin } = checkpoint;
      if (origin === log) mismatch("a recovery names a head of its own log");
      if (!registry) continue;
      if (!origin.startsWith(registry.deployment + "/")) mismatch(`a recovery names a head of \`${origin}\`, which is not of the deployment`);
      await helm.checkpoint.signerOf(checkpoint, registry);
    }
  }

  return { Notes, checkHeads };
})();

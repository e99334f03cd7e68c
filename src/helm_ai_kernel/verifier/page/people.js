// Who said something: the keys of a registry by number, whether they are in force at a size of it (approval.md, Key in
// force), and which principals are the same person. What was said is a voice: a statement, its keys, its clock.
helm.people = (() => {
  "use strict";
  const { Lists, columns } = helm.column;

  class People {
    constructor(registry) {
      this.keys = [...registry.keys.values()];
      this.numbers = new Map(this.keys.map((key, number) => [key.id, number]));
      this.lists = new Lists();
      this.voices = columns({ leaf: Int32Array, keys: Int32Array, clock: Int32Array, before: Int32Array });
      this.size = 0; // voices, by numbers from 1 on
    }

    // The keys that signed a statement, in the order of their ids; null where the registry has not all of them.
    signersOf({ record }) {
      const numbers = record.signatures.map(({ key }) => this.numbers.get(key));
      return numbers.includes(undefined) ? null : numbers;
    }

    isInForce(key, size) {
      const { since, until } = this.keys[key];
      return since <= size && size < until;
    }

    principal(key) {
      return this.keys[key].principal;
    }

    isSame(one, other) {
      return this.principal(one).toLowerCase() === this.principal(other).toLowerCase();
    }

    speak(leaf, keys, clock) {
      this.size++;
      this.voices.leaf.set(this.size, leaf);
      this.voices.keys.set(this.size, this.lists.of(keys));
      this.voices.clock.set(this.size, clock);
      return this.size;
    }

    leafOf(voice) {
      return this.voices.leaf.get(voice);
    }

    keysOf(voice) {
      return this.lists.get(this.voices.keys.get(voice));
    }

    clockOf(voice) {
      return this.voices.clock.get(voice);
    }

    // Voices one behind the other are the last of them, and each the one before it.
    behind(last, voice) {
      this.voices.before.set(voice, last);
      return voice;
    }

    chain(last) {
      const voices = [];
      for (let voice = last; voice; voice = this.voices.before.get(voice)) voices.push(voice);
      return voices.reverse();
    }

    // An approval is by its first signer.
    keyOf(voice) {
      return this.keysOf(voice)[0];
    }
  }

  return { People };
})();

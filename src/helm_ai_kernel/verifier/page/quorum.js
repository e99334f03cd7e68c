// A witness policy (witness.md, after C2SP tlog-policy): which witnesses a verifier believes, and how many of them have to
// have seen a log. The verifier brings it. A file that is none is a wrong question: nothing is verified.
helm.quorum = (() => {
  "use strict";
  const { Usage, Fault } = helm.findings;
  const BYTES_MAX = 64 << 10;
  const WITNESSES_MAX = 63;
  const LOGS_MAX = 64;
  const GROUPS_MAX = 64;
  const LOG = 1;
  const COSIGNATURE = 4;

  // `line` 0: what is wrong with the file as a whole.
  function refuse(line, what) {
    throw new Usage(`the witness policy is none: ${line ? `line ${line}: ` : ""}${what}`);
  }

  class Policy {
    constructor() {
      this.witnesses = new Map(); // name in this file -> {name (in notes), hash, key}
      this.groups = new Map(); // name -> {needed, members}
      this.logs = 0;
      this.keys = new Set(); // of logs and witnesses: one is nobody else's
      this.members = new Set(); // of whatever group
      this.quorum = null;
    }

    // Whether those that `cosigned` (a set of names) are a quorum.
    satisfied(cosigned, name = this.quorum) {
      const group = this.groups.get(name);
      if (!group) return cosigned.has(name);
      return group.members.filter((member) => this.satisfied(cosigned, member)).length >= group.needed;
    }

    has(name) {
      return this.witnesses.has(name) || this.groups.has(name);
    }
  }

  function read(bytes) {
    if (bytes.length > BYTES_MAX) refuse(0, `more than ${BYTES_MAX} bytes`);
    const policy = new Policy();
    let number = 0;
    for (let at = 0; at < bytes.length; ) {
      const end = bytes.indexOf(10, at) < 0 ? bytes.length : bytes.indexOf(10, at);
      const words = wordsOf(bytes.subarray(at, end), ++number);
      if (words.length) take(policy, words, number);
      at = end + 1;
    }
    if (policy.quorum === null) refuse(0, "there is no `quorum`");
    return policy;
  }

  // A comment has any of the bytes that are allowed; what is no comment is text.
  function wordsOf(line, number) {
    if (line.some((byte) => (byte < 0x20 && byte !== 9) || byte === 0x7f)) refuse(number, "a byte that is not allowed");
    const first = line.find((byte) => byte !== 0x20 && byte !== 9);
    if (first === undefined || first === 0x23) return [];
    const text = helm.bytes.text(line) ?? refuse(number, "it is not UTF-8");
    return text.split(/[ \t]+/).filter((word) => word);
  }

  function take(policy, [word, ...rest], number) {
    const takers = { log: takeLog, witness: takeWitness, group: takeGroup, quorum: takeQuorum };
    if (!Object.hasOwn(takers, word)) refuse(number, "it is neither `log`, `witness`, `group` nor `quorum`");
    takers[word](policy, rest, (what) => refuse(number, what));
  }

  function takeLog(policy, words, refuse) {
    if (words.length < 1 || words.length > 2) refuse("a log has a key and perhaps an address");
    readKey(policy, words[0], LOG, refuse);
    if (++policy.logs > LOGS_MAX) refuse(`more than ${LOGS_MAX} logs`);
  }

  function takeWitness(policy, words, refuse) {
    if (words.length < 2 || words.length > 3) refuse("a witness has a name, a key and perhaps an address");
    const witness = readKey(policy, words[1], COSIGNATURE, refuse);
    if (policy.witnesses.size === WITNESSES_MAX) refuse(`more than ${WITNESSES_MAX} witnesses`);
    policy.witnesses.set(fresh(policy, words[0], refuse), witness);
  }

  function takeGroup(policy, [name, rule, ...members], refuse) {
    if (!members.length) refuse("a group has a name, `all`, `any` or a number, and members");
    fresh(policy, name, refuse);
    for (const member of members) {
      if (!policy.has(member)) refuse("a member is not defined on a line before");
      if (policy.members.has(member)) refuse("a member is in a group already");
      policy.members.add(member);
    }
    const counted = /^[1-9][0-9]{0,2}$/.test(rule) ? Number(rule) : 0;
    const needed = rule === "all" ? members.length : rule === "any" ? 1 : counted;
    if (needed < 1 || needed > members.length) refuse("a group needs from 1 to all of its members");
    if (policy.groups.size === GROUPS_MAX) refuse(`more than ${GROUPS_MAX} groups`);
    policy.groups.set(name, { needed, members });
  }

  function takeQuorum(policy, words, refuse) {
    if (words.length !== 1 || policy.quorum !== null) refuse("there is one `quorum`, and it has one name");
    if (words[0] === "none") refuse("`quorum none` asks for nothing");
    if (!policy.has(words[0])) refuse("the quorum is not defined on a line before");
    policy.quorum = words[0];
  }

  function fresh(policy, name, refuse) {
    return name === "none" || policy.has(name) ? refuse("a name is `none`, or taken") : name;
  }

  // NAME+HASH+BASE64; the last may have a plus, a name has none.
  function readKey(policy, word, type, refuse) {
    const [, name, hash, spelled] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/u.exec(word) ?? refuse("a key is none");
    const bytes = helm.bytes.unbase64(spelled);
    if (!helm.checkpoint.isName(name) || bytes?.length !== 33 || bytes[0] !== type) refuse("a key is none, or of another type");
    const key = bytes.subarray(1);
    const expected = helm.checkpoint.keyHash(name, type, key);
    if (helm.bytes.hex(expected) !== hash) refuse("a key has another hash");
    if (policy.keys.has(helm.bytes.hex(key))) refuse("a public key is there twice");
    policy.keys.add(helm.bytes.hex(key));
    try {
      helm.ed25519.checkRegistered(key);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      refuse(fault.message);
    }
    return { name, hash: expected, key };
  }

  return { read, BYTES_MAX };
})();

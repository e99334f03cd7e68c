// The forms of a value (receipt.md), each a check of what JSON gave. A type is exact: `true` is not 1, a number is not
// its text. What has another form is PACK_MALFORMED; a word that is not in its closed list is UNSUPPORTED, because a
// later version may have it.
helm.forms = (() => {
  "use strict";
  const { Fault } = helm.findings;
  const CHARACTERS_MAX = 256;
  const ITEMS_MAX = 1024;
  const DIGEST = /^sha256:[0-9a-f]{64}$/;
  const ID = /^[0-9a-f]{32}$/;
  const TIME = /^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z$/;

  function malformed(what) {
    throw new Fault("PACK_MALFORMED", what);
  }

  function unsupported(what) {
    throw new Fault("UNSUPPORTED", what);
  }

  // A check is (value, name of the field) and gives what the field holds.
  const matching = (pattern, what) => (value, field) =>
    typeof value === "string" && pattern.test(value) ? value : malformed(`\`${field}\` is no ${what}`);

  const digest = matching(DIGEST, "digest");
  const id = matching(ID, "id");
  const time = matching(TIME, "time");

  function count(value, field) {
    return Number.isSafeInteger(value) && value >= 0 ? value : malformed(`\`${field}\` is no count`);
  }

  const within = (least, most) => (value, field) =>
    count(value, field) >= least && value <= most ? value : malformed(`\`${field}\` is not from ${least} to ${most}`);

  function number(value, field) {
    return typeof value === "number" ? value : malformed(`\`${field}\` is no number`);
  }

  function codePoints(text, most) {
    if (text.length > 2 * most) return most + 1; // a long text need not be counted
    let points = 0;
    for (const _ of text) points++;
    return points;
  }

  const stringOf = (least, most) => (value, field) => {
    if (typeof value !== "string") malformed(`\`${field}\` is no string`);
    const points = codePoints(value, most);
    return points >= least && points <= most ? value : malformed(`\`${field}\` has not ${least} to ${most} characters`);
  };

  const name = stringOf(1, CHARACTERS_MAX);
  const tool = stringOf(0, CHARACTERS_MAX);

  function text(value, field) {
    return typeof value === "string" ? value : malformed(`\`${field}\` is no string`);
  }

  function bool(value, field) {
    return typeof value === "boolean" ? value : malformed(`\`${field}\` is neither true nor false`);
  }

  function yes(value, field) {
    return value === true ? true : malformed(`\`${field}\` is not true`);
  }

  const orNull = (check) => (value, field) => (value === null ? null : check(value, field));

  const oneOf = (...words) => (value, field) =>
    words.includes(text(value, field)) ? value : unsupported(`\`${field}\` says \`${value.slice(0, 64)}\``);

  const listOf = (check, least = 0, most = ITEMS_MAX) => (value, field) =>
    Array.isArray(value) && value.length >= least && value.length <= most
      ? value.map((item) => check(item, field))
      : malformed(`\`${field}\` is no list of ${least} to ${most}`);

  // Strings compare by UTF-16 code units here; names are sorted by code point.
  function compareByCodePoint(a, b) {
    for (let at = 0; at < a.length && at < b.length; at++) {
      const [x, y] = [a.charCodeAt(at), b.charCodeAt(at)];
      if (x !== y) return surrogatesLast(x) - surrogatesLast(y);
    }
    return a.length - b.length;
  }

  function surrogatesLast(unit) {
    return unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit;
  }

  function ascending(items, field, compare = compareByCodePoint) {
    for (let at = 1; at < items.length; at++) {
      if (compare(items[at - 1], items[at]) >= 0) malformed(`\`${field}\` is not sorted, or has something twice`);
    }
    return items;
  }

  function distinct(items, field) {
    return new Set(items).size === items.length ? items : malformed(`\`${field}\` names one twice`);
  }

  function names(value, field) {
    return ascending(listOf(name, 1)(value, field), field);
  }

  function counts(value, field) {
    if (!(value instanceof Map) || !value.size) malformed(`\`${field}\` is no object that holds something`);
    for (const amount of value.values()) count(amount, field);
    return value;
  }

  function digests(value, field) {
    if (!(value instanceof Map)) malformed(`\`${field}\` is no object`);
    for (const one of value.values()) digest(one, field);
    return value;
  }

  // An object with exactly these fields: `{field: check}`, and `optional(check)` where a field may be missing. Gives a
  // plain object without inherited names.
  const object = (fields) => (value, where) => {
    if (!(value instanceof Map)) malformed(`\`${where}\` is no object`);
    for (const field of value.keys()) {
      if (!Object.hasOwn(fields, field)) malformed(`\`${where}\` has a field \`${field.slice(0, 64)}\``);
    }
    const read = Object.create(null);
    for (const [field, check] of Object.entries(fields)) {
      if (value.has(field)) read[field] = check(value.get(field), field);
      else if (!check.optional) malformed(`\`${where}\` has no \`${field}\``);
    }
    return read;
  };

  function optional(check) {
    return Object.assign((value, field) => check(value, field), { optional: true });
  }

  return {
    ...{ malformed, unsupported, digest, id, time, count, stringOf, name, tool, text, bool, yes, orNull, oneOf, listOf },
    ...{ names, counts, digests, object, optional, ascending, distinct, matching, within, number, compareByCodePoint, DIGEST },
  };
})();

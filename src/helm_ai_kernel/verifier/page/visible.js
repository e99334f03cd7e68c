// Text from a pack, cut into pieces that a person can trust their eyes with. What does not show, moves other text, or
// looks like something else becomes a mark that says its code point: `<U+202E>`. Marks are pieces of their own, so that
// a page can draw them as nothing in a text can look.
helm.visible = (() => {
  "use strict";
  const CHARACTERS_MAX = 4000;
  const MARKS_IN_A_ROW = 2; // of combining marks; more of them climb over the lines around
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;
  const SPACE = /\p{Zs}/u;
  const COMBINING = /\p{M}/u;
  const LATIN = /\p{Script=Latin}/u;
  const LOOKALIKE = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}\p{Script=Coptic}\p{Script=Lisu}]/u;
  const LETTER = /[\p{L}\p{M}\p{N}_]/u;

  function codePoint(char) {
    return "<U+" + char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + ">";
  }

  // [{text, mark}], and last {rest: characters that are not shown} if the text was too long. A `name` is marked
  // wherever it leaves ASCII; prose keeps its newlines and its letters.
  function pieces(text, { isName = false, charactersMax = CHARACTERS_MAX } = {}) {
    const out = [];
    const shown = [...text.slice(0, charactersMax)];
    const put = (piece, mark) => {
      const last = out.at(-1);
      if (last && last.mark === mark) last.text += piece;
      else out.push({ text: piece, mark });
    };
    const mixed = isName ? null : mixedWords(shown);
    let marksInARow = 0;
    shown.forEach((char, at) => {
      marksInARow = COMBINING.test(char) ? marksInARow + 1 : 0;
      const strange = isName ? char < " " || char > "~" : hides(char) || marksInARow > MARKS_IN_A_ROW || poses(char) || (mixed.has(at) && LOOKALIKE.test(char));
      if (!strange) return put(char, false);
      if (!hides(char)) put(char, false);
      put(codePoint(char), true);
    });
    if (text.length > charactersMax) out.push({ rest: text.length - charactersMax, text: "", mark: true });
    return out;
  }

  function hides(char) {
    if (char === "\n" || char === "\t" || char === " ") return false;
    return HIDDEN.test(char) || SPACE.test(char);
  }

  // A letter that is ASCII in disguise: fullwidth, mathematical, circled.
  function poses(char) {
    if (char <= "~") return false;
    const plain = char.normalize("NFKC");
    return plain !== char && /^[ -~]+$/.test(plain);
  }

  // The places of all characters in words that mix Latin with a script that looks like it.
  function mixedWords(chars) {
    const places = new Set();
    for (let from = 0; from < chars.length; from++) {
      let to = from;
      let [latin, other] = [false, false];
      for (; to < chars.length && LETTER.test(chars[to]); to++) {
        latin ||= LATIN.test(chars[to]);
        other ||= LOOKALIKE.test(chars[to]);
      }
      if (latin && other) for (let at = from; at < to; at++) places.add(at);
      from = to;
    }
    return places;
  }

  return { pieces };
})();

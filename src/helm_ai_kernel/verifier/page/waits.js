// What is told of calls that wait for people (approval.md): what a held call asks for, what each person said of it, how it
// went on, and whose word a decision went by. An override is marked wherever it has a part.
helm.waits = (() => {
  "use strict";
  const { element, quiet, foreign, name, short, row, anchor, link, commaed, signersOf } = helm.elements;
  const { counted, number, duration, wordOf, SAID } = helm.words;
  const { isByOverride, isByGrant } = helm.finder;
  const ROWS = { freeze: freezeRows, lapse: lapseRows, gap: gapRows };
  const STATES = { waiting: "waits for people", complete: "approved", overridden: "OVERRIDDEN", denied: "denied" };

  const badge = () => element("strong", { class: "override" }, "OVERRIDE");
  const warned = (...children) => element("span", { class: "accused" }, ...children);

  function decisionRows(entry) {
    const { facts, requires, relies } = entry.receipt;
    const rows = [];
    if (facts.frozen) rows.push(row("frozen by", link(facts.frozen, entry)));
    if (facts.approval) rows.push(...readRows(entry, facts.approval));
    if (facts.grant) rows.push(row("a grant", ...voice(facts.grant.statement, entry), `: ${counted(facts.grant.left, "call")} left before this one`));
    if (relies) rows.push(row("goes by", ...reliance(entry)));
    if (requires) rows.push(row("asks for", ...asked(requires)), row("people said", ...answers(entry)));
    if (facts.not_by) rows.push(row("not by", ...commaed(facts.not_by.map(name))));
    if (facts.alone) rows.push(row("because", "nobody is there to be asked"));
    if (facts.crowded) rows.push(row("because", "too many calls wait already"));
    return rows;
  }

  function asked({ approvers, timelock_ms, expires_ms, not_by = [] }) {
    const people = approvers === 1 ? "the approval of one person" : `the approvals of ${approvers} people`;
    const others = not_by.length ? [", not ", ...commaed(not_by.map(name))] : [];
    const wait = timelock_ms ? `; then it waits ${duration(timelock_ms)}` : "";
    return [people, ...others, `, within ${duration(expires_ms)}`, wait];
  }

  // As a decision read a held call.
  function readRows(entry, held) {
    const { state, statements = [], since, requires, disputed, call } = held;
    const { clock } = entry.receipt.facts;
    const said = statements.flatMap((leaf, at) => [at ? ", " : ": ", ...voice(leaf, entry)]);
    const word = state === "overridden" ? badge() : state === "denied" ? warned(STATES[state]) : STATES[state];
    const count = state === "waiting" ? ` (${statements.length} of ${requires.approvers})` : "";
    const rows = [row("held call", link(call, entry), ", ", word, count, ...said)];
    if (disputed) rows.push(row("", warned("disputed before: what had been approved until then was void")));
    if (since) rows.push(row("waited", ...waited(since, clock, state === "complete" ? requires.timelock_ms : 0)));
    return rows;
  }

  function waited(since, clock, timelock) {
    const { surely, wentBack } = helm.clock.passed(since, clock);
    if (wentBack) return [warned("nobody can say: a clock went back")];
    return [`surely ${duration(surely)}`, timelock ? ` of the ${duration(timelock)} of its timelock` : " since then", quiet(" by the operator's clocks")];
  }

  // A statement, by whom, and where it stands.
  function voice(leaf, entry) {
    const said = entry.voices.get(leaf) ?? null;
    if (!said?.receipt?.statement) return [link(leaf, entry)];
    return ["by ", ...signersOf(said.receipt.statement), ...placed(said)];
  }

  // Where it stands, and what was found of it.
  function placed({ index, faults }) {
    return [" (", anchor(index), ")", ...(faults.length ? [" ", warned("but: " + faults.join(" "))] : [])];
  }

  function reliance(entry) {
    const { receipt } = entry;
    const said = receipt.relies.flatMap((leaf, at) => [at ? ", " : " ", ...voice(leaf, entry)]);
    if (isByOverride(receipt)) return [badge(), ...said, ": neither its quorum nor its timelock held it back"];
    return [isByGrant(receipt) ? "a grant" : receipt.relies.length === 1 ? "the approval" : "the approvals", ...said];
  }

  // What was said of a held call, and how it went on.
  function answers({ words, hasMoreWords, isPart }) {
    if (!words.length) return [element("span", { class: "unknown" }, isPart ? "nothing that is in this part" : "nothing, and it never went on: it waits, or was forgotten")];
    const before = hasMoreWords ? [quiet(`more than is shown: these are the last ${words.length}`)] : [];
    return [...before, element("ul", { class: "words" }, ...words.map((word) => element("li", {}, ...answer(word))))];
  }

  function answer(word) {
    const { receipt } = word;
    const where = placed(word);
    if (!receipt) return ["a line that nobody can read", ...where];
    const { shape, statement } = receipt;
    if (shape === "lapse") return [warned("lapsed: nobody answered in time, or nobody used the answer"), ...where];
    if (shape === "statement") {
      const what = wordOf(statement);
      const said = what === "override" ? [badge()] : [["deny", "dispute"].includes(what) ? warned(SAID[what]) : SAID[what]];
      return [...said, " by ", ...signersOf(statement), ...where];
    }
    if (receipt.requires) return ["more was asked for", ...where];
    if (receipt.reason === "ERR_APPROVAL_EXPIRED") return [warned("expired, and the caller was told so"), ...where];
    return ["dispatched", ...(isByOverride(receipt) ? [" by ", badge()] : isByGrant(receipt) ? [" by a grant"] : []), ...where];
  }

  // Of what is about held calls and grants; null of other statements.
  function statementRows(entry) {
    const { statement } = entry.receipt;
    const { kind, call, grant, decision } = statement;
    if (kind === "grant") return grantRows(statement);
    if (kind === "revocation") return [row("ends", link(grant, entry))];
    if (call === undefined) return null;
    const rows = [row("says", kind === "override" ? badge() : ["deny", "dispute"].includes(decision) ? warned(SAID[decision]) : SAID[decision]), row("of", ...callOf(entry, call))];
    if (kind === "override") rows.push(row("", warned("whatever it waited for: no quorum, no timelock")));
    return rows;
  }

  function callOf(entry, leaf) {
    const receipt = entry.call?.receipt;
    return [link(leaf, entry), ...(receipt?.tool === undefined ? [] : [": ", name(receipt.tool)]), ...(receipt?.requires ? [quiet(", which asked for "), ...asked(receipt.requires)] : [])];
  }

  function grantRows({ principal, tool, pin, where, calls, lasts_ms }) {
    return [
      row("approves", `${counted(calls, "call")} by `, name(principal), " to ", name(tool), ", within ", duration(lasts_ms)),
      row("pinned as", short(pin)),
      row("where", where.size ? element("pre", {}, foreign(helm.json.canonicalText(where))) : "there are no arguments"),
    ];
  }

  function freezeRows({ receipt: { scope, by, sub } }) {
    const [kind] = scope.split(":", 1);
    const what = { all: "everything", server: "a server", agent: "an agent", session: "a session" }[kind];
    return [row("stops", what, ...(kind === "all" ? [] : [": ", name(scope.slice(kind.length + 1))])), by === undefined ? row("because", name(sub), quiet(" as the kernel saw it")) : row("by", name(by), quiet(" as the kernel knows them"))];
  }

  function lapseRows(entry) {
    return [row("of", ...callOf(entry, entry.receipt.call))];
  }

  function gapRows({ receipt: { door, counts } }) {
    const items = [...counts].map(([reason, many]) => element("li", {}, `${number(many)} × ${reason}`));
    return [row("at the door", name(door)), row("counted", element("ul", { class: "words" }, ...items))];
  }

  return { ROWS, decisionRows, statementRows, badge };
})();

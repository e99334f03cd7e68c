// What a receipt says, row by row.
helm.rows = (() => {
  "use strict";
  const { element, quiet, foreign, name, short, row, anchor, link, signersOf, commaed } = helm.elements;
  const { counted } = helm.words;
  const ROWS = { decision: decisionRows, raw: decisionRows, outcome: outcomeRows, statement: statementRows, hold: holdRows, recovery: recoveryRows, ...helm.waits.ROWS };

  const KEPT = {
    schema: "its pinned output schema",
    shape: "the shape of an answer: no schema is pinned",
    question: "the shape of a question to the caller, instead of an answer",
  };

  function rowsOf(entry) {
    const { receipt } = entry;
    if (!receipt) return [];
    return [...(ROWS[receipt.shape]?.(entry) ?? []), row("time", receipt.at, quiet(" the operator's word"))];
  }

  function attachment(digest, { held, erased }, withheld = "withheld") {
    const { state, text, size } = held.get(digest);
    if (state === "withheld" && erased !== null) return element("span", { class: "withheld" }, "erased, as ", anchor(erased), " says ", short(digest));
    if (state === "withheld") return element("span", { class: "withheld" }, withheld, " ", short(digest));
    if (state === "wrong") return element("span", { class: "accused" }, "an attachment that is not what its name says ", short(digest));
    if (text === null) return quiet(`${helm.words.number(size)} bytes that are no text `, short(digest));
    return element("pre", {}, foreign(text));
  }

  function decisionRows(entry) {
    const { receipt, outcomes } = entry;
    const rows = [];
    if (receipt.raw_hash) rows.push(row("tried", attachment(receipt.raw_hash, entry, "a request that nobody could read; withheld")));
    if (receipt.args_hash) rows.push(row("arguments", attachment(receipt.args_hash, entry)));
    if (receipt.subject) rows.push(row("about", element("code", {}, receipt.subject), ...(entry.erased === null ? [] : [", erased: ", anchor(entry.erased)])));
    if (receipt.effect) rows.push(row("may", receipt.effect));
    if (receipt.sub) rows.push(row("because", name(receipt.sub)));
    if (receipt.rules) rows.push(row("rules", ...commaed(receipt.rules.map(name))));
    rows.push(row("policy", receipt.policy ? short(receipt.policy) : quiet("none in force")));
    if (receipt.key) rows.push(row("key", attachment(receipt.key, entry)));
    rows.push(...helm.waits.decisionRows(entry));
    if (receipt.facts.hold) rows.push(row("held by", link(receipt.facts.hold, entry)));
    if (receipt.repeats) rows.push(row("answered as", link(receipt.repeats, entry), ", and dispatched no more"));
    if (receipt.effect_by === "client") rows.push(row("acts", "the client, on this verdict"));
    if (helm.receipt.isOffer(receipt)) rows.push(row("what happened", ...reported(outcomes)));
    else if (helm.receipt.isIntent(receipt)) rows.push(row("what happened", ...happened(outcomes)));
    else if (receipt.requires) rows.push(row("what happened", "the call was held: nothing was dispatched here"));
    else if (!receipt.repeats) rows.push(row("what happened", "nothing was dispatched"));
    return rows;
  }

  function happened(outcomes) {
    if (!outcomes.length) return [element("span", { class: "unknown" }, "unknown: no outcome is recorded here")];
    return outcomes.flatMap(({ index, status }, at) => {
      const what = element("span", { class: status === "UNKNOWN" ? "unknown" : "" }, helm.words.OUTCOMES[status], " (", anchor(index), ")");
      return at ? ["; ", what] : [what];
    });
  }

  // Of what the client acted on it may say nothing.
  function reported(outcomes) {
    return outcomes.length ? happened(outcomes) : [quiet("the client did not say, and need not")];
  }

  function outcomeRows(entry) {
    const { receipt } = entry;
    const rows = [row("of", link(receipt.decision, entry))];
    if (receipt.output_hash) rows.push(row("output", attachment(receipt.output_hash, entry)));
    if (receipt.contract) rows.push(row("kept", KEPT[receipt.contract]));
    if (receipt.tool_error) rows.push(row("", "the tool says that this is an error"));
    if (receipt.truncated) rows.push(row("", "cut: there was more output than the limit"));
    if (receipt.interim) rows.push(row("before it", `${counted(receipt.interim.count, "message")} released, hashed to `, short(receipt.interim.hash)));
    if (receipt.sub) rows.push(row("because", name(receipt.sub)));
    if (receipt.status === "UNKNOWN") rows.push(row("", element("span", { class: "unknown" }, "the kernel does not know whether it was applied")));
    return rows;
  }

  function statementRows(entry) {
    const { statement } = entry.receipt;
    const { kind, hold, scope, subject, count, policy, catalog } = statement;
    const rows = [row("signed by", ...signersOf(statement))];
    const change = ({ from, to }) => [from ? short(from) : "nothing", " → ", short(to)];
    const of = helm.waits.statementRows(entry);
    if (of) rows.push(...of);
    else if (scope !== undefined) rows.push(row("unfreezes", name(scope), ", as ", link(hold, entry), " had frozen it"));
    else if (kind === "release") rows.push(row("releases", link(hold, entry)));
    else if (kind === "erasure") rows.push(row("erases", element("code", {}, subject), `: what was kept about this subject, ${counted(count, "attachment")}, can be read no more`));
    else rows.push(row("policy", ...change(policy)), row("catalogue", ...change(catalog)));
    return rows;
  }

  function holdRows(entry) {
    const { cause, sub } = entry.receipt;
    return [cause === undefined ? row("because", name(sub), quiet(" as the kernel saw it outside any call")) : row("because of", link(cause, entry))];
  }

  function recoveryRows({ receipt }) {
    const found = row("found", `${counted(receipt.open, "call")} without an outcome, behind ${counted(receipt.size, "receipt")}`);
    return [found, ...(receipt.heads ?? []).map((head) => row("in place of", element("pre", {}, foreign(head))))];
  }

  return { rowsOf };
})();

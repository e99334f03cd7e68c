// The only file that makes elements. Text from a pack gets in through textContent alone, cut into visible pieces; no
// markup is ever parsed from a string.
helm.show = (() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const SESSION_ENTRIES_MAX = 200; // shown at once; the others on demand

  function element(name, attributes = {}, ...children) {
    return filled(document.createElement(name), attributes, children);
  }

  function drawn(name, attributes = {}, ...children) {
    return filled(document.createElementNS(SVG, name), attributes, children);
  }

  function filled(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children.filter((child) => child !== null)); // strings become text nodes
    return node;
  }

  // Somebody else's text.
  function foreign(text, options = {}) {
    const box = element("span", { class: options.isName ? "foreign name" : "foreign", dir: "ltr" });
    for (const { text: piece, mark, rest } of helm.visible.pieces(text, options)) {
      if (rest) box.append(element("span", { class: "mark" }, ` and ${rest} characters more`));
      else box.append(mark ? element("span", { class: "mark" }, piece) : piece);
    }
    return text === "" ? element("span", { class: "quiet" }, "(empty)") : box;
  }

  const name = (text) => foreign(text, { isName: true, charactersMax: 300 });

  function short(digest) {
    return element("code", { class: "digest", title: digest }, digest.replace(/^sha256:/, "").slice(0, 12) + "…");
  }

  function row(label, ...values) {
    return element("div", { class: "row" }, element("dt", {}, label), element("dd", {}, ...values));
  }

  function anchor(entry) {
    return element("a", { href: "#receipt-" + entry.index, class: "ref" }, "receipt " + entry.index);
  }

  // ---- the report

  function report(report) {
    const box = element("section", { class: "report", id: "report" });
    box.append(
      element("p", { class: "verdict verdict-" + report.verdict.toLowerCase() }, report.verdict, element("small", {}, ` exit ${report.exit}`)),
      element(
        "dl",
        {},
        row("log", report.log === null ? "unknown" : foreign(report.log, { isName: true })),
        row("as of", report.size === null ? "no checkpoint that can be read" : `size ${report.size}, root ${report.root}`),
        row("receipts", `${report.receipts} in ${report.sessions} sessions`),
      ),
      element("ul", { class: "axes" }, ...Object.entries(report.axes).map(([axis, value]) => element("li", { class: "axis axis-" + value }, axis, element("b", {}, value.replace("_", " "))))),
    );
    if (report.findings.length) {
      const items = report.findings.map((finding) => element("li", {}, element("b", {}, finding.code), ` ${finding.step}, ${finding.where}: `, foreign(finding.detail)));
      box.append(element("h2", {}, "Findings"), element("ul", { class: "findings" }, ...items));
      if (report.omitted) box.append(element("p", { class: "quiet" }, `and ${report.omitted} more of these codes`));
    }
    return box;
  }

  function notProven(report) {
    const items = report.not_proven.map((what) => element("li", {}, what));
    return element("section", { class: "unproven" }, element("h2", {}, "Not proven"), element("ul", {}, ...items));
  }

  // ---- the story

  function story(tale, verdict) {
    const box = element("section", { class: "story" }, element("h2", {}, verdict === "VALID" ? "What happened" : "What the pack says that happened"));
    if (verdict !== "VALID") box.append(element("p", { class: "accused" }, `The pack is ${verdict}: read this with the findings in mind. What a finding is about is said beside it.`));
    if (!tale.sessions.length) box.append(element("p", { class: "quiet" }, "The pack has no receipts."));
    for (const session of tale.sessions) box.append(sessionBox(session, tale));
    return box;
  }

  function sessionBox(session, tale) {
    const { start, end, entries } = session;
    const who = start ? [name(start.principal), " at the door ", name(start.door), start.client === null ? "" : ", client ", start.client === null ? null : name(start.client)] : ["a session whose start is not here"];
    const box = element("article", { class: "session" }, element("h3", {}, ...(session.id === null ? ["lines that nobody can read"] : who)));
    box.append(element("p", { class: "quiet" }, session.id === null ? "" : `session ${session.id}; `, endOf(session, end)));
    const list = element("ol", { class: "entries" });
    box.append(list);
    more(list, entries, 0, tale);
    return box;
  }

  function endOf(session, end) {
    if (session.id === null) return "";
    return end ? element("span", {}, "ended: ", name(end.reason)) : element("span", { class: "unknown" }, "it has no end here: its process died, or was still running");
  }

  function more(list, entries, from, tale) {
    for (const entry of entries.slice(from, from + SESSION_ENTRIES_MAX)) list.append(entryBox(entry, tale));
    const rest = entries.length - from - SESSION_ENTRIES_MAX;
    if (rest <= 0) return;
    const button = element("button", { type: "button" }, `show more of ${rest} receipts`);
    button.addEventListener("click", () => {
      button.remove();
      more(list, entries, from + SESSION_ENTRIES_MAX, tale);
    });
    list.append(button);
  }

  function entryBox(entry, tale) {
    const { index, receipt, tone, faults } = entry;
    const title = element("p", { class: "title" }, element("span", { class: "number" }, String(index)), element("b", {}, helm.tale.titleOf(receipt)));
    if (receipt?.tool !== undefined) title.append(" ", name(receipt.tool));
    if (receipt?.statement?.tool !== undefined) title.append(" ", name(receipt.statement.tool));
    const rows = element("dl", {}, ...(receipt ? rowsOf(entry, tale) : []));
    const accused = faults.map((fault) => element("p", { class: "accused" }, element("b", {}, fault.code), " ", foreign(fault.detail)));
    return element("li", { class: "entry tone-" + tone, id: "receipt-" + index }, title, rows, ...accused);
  }

  function rowsOf(entry, tale) {
    const { receipt } = entry;
    const rows = { decision: decisionRows, raw: decisionRows, outcome: outcomeRows, statement: statementRows, hold: holdRows, recovery: recoveryRows }[receipt.shape];
    return [...(rows ? rows(entry, tale) : []), row("time", receipt.at, element("span", { class: "quiet" }, " the operator's word"))];
  }

  function attachment(digest, tale, withheld) {
    const held = tale.holds(digest);
    if (held.state === "withheld") return element("span", { class: "withheld" }, withheld, " ", short(digest));
    if (held.state === "wrong") return element("span", { class: "accused" }, "an attachment that is not what its name says ", short(digest));
    if (held.text === null) return element("span", { class: "quiet" }, `${held.bytes} bytes that are no text `, short(digest));
    return element("pre", {}, foreign(held.text));
  }

  function link(leaf, tale) {
    const entry = tale.byLeaf.get(leaf);
    return entry ? anchor(entry) : element("span", { class: "accused" }, "a receipt that is not here ", short(leaf));
  }

  function decisionRows(entry, tale) {
    const { receipt, outcomes } = entry;
    const rows = [];
    if (receipt.raw_hash) rows.push(row("tried", attachment(receipt.raw_hash, tale, "a request that nobody could read; withheld")));
    if (receipt.args_hash) rows.push(row("arguments", attachment(receipt.args_hash, tale, "withheld")));
    if (receipt.effect) rows.push(row("may", receipt.effect));
    if (receipt.sub) rows.push(row("because", name(receipt.sub)));
    if (receipt.rules) rows.push(row("rules", ...receipt.rules.flatMap((rule, at) => (at ? [", ", name(rule)] : [name(rule)]))));
    rows.push(row("policy", receipt.policy ? short(receipt.policy) : element("span", { class: "quiet" }, "none in force")));
    if (receipt.key) rows.push(row("key", attachment(receipt.key, tale, "withheld")));
    if (receipt.facts.hold) rows.push(row("held by", link(receipt.facts.hold, tale)));
    if (receipt.repeats) rows.push(row("answered as", link(receipt.repeats, tale), ", and dispatched no more"));
    if (helm.receipt.isIntent(receipt)) rows.push(row("what happened", ...happened(outcomes)));
    else if (!receipt.repeats) rows.push(row("what happened", "nothing was dispatched"));
    return rows;
  }

  function happened(outcomes) {
    if (!outcomes.length) return [element("span", { class: "unknown" }, "unknown: no outcome is recorded")];
    const words = { OK: "answered", FAILED: "provably not applied", DRIFT: "answered, against its contract: withheld from the caller", UNKNOWN: "unknown: it may have been applied", LATE: "answered late: nothing was released" };
    return outcomes.flatMap((entry, at) => {
      const { status } = entry.receipt;
      const what = element("span", { class: status === "UNKNOWN" ? "unknown" : "" }, words[status], " (", anchor(entry), ")");
      return at ? ["; ", what] : [what];
    });
  }

  function outcomeRows({ receipt }, tale) {
    const rows = [row("of", link(receipt.decision, tale))];
    if (receipt.output_hash) rows.push(row("output", attachment(receipt.output_hash, tale, "withheld")));
    if (receipt.contract) rows.push(row("kept", receipt.contract === "schema" ? "its pinned output schema" : "the shape of an answer: no schema is pinned"));
    if (receipt.tool_error) rows.push(row("", "the tool says that this is an error"));
    if (receipt.truncated) rows.push(row("", "cut: there was more output than the limit"));
    if (receipt.sub) rows.push(row("because", name(receipt.sub)));
    if (receipt.status === "UNKNOWN") rows.push(row("", element("span", { class: "unknown" }, "the kernel does not know whether it was applied")));
    return rows;
  }

  function statementRows({ receipt }, tale) {
    const { statement } = receipt;
    const signers = row("signed by", ...tale.signersOf(statement).flatMap((who, at) => [at ? ", " : "", who === null ? element("span", { class: "accused" }, "a key that the registry does not have") : name(who)]));
    if (statement.kind === "release") return [signers, row("releases", link(statement.hold, tale))];
    const change = ({ from, to }) => [from ? short(from) : "nothing", " → ", short(to)];
    return [signers, row("policy", ...change(statement.policy)), row("catalogue", ...change(statement.catalog))];
  }

  function holdRows({ receipt }, tale) {
    return [row("because of", link(receipt.cause, tale))];
  }

  function recoveryRows({ receipt }) {
    return [row("found", `${receipt.open} calls without an outcome, behind ${receipt.size} receipts`)];
  }

  // ---- the graph

  function graph(layout) {
    const { width, height } = layout;
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "the receipts of each session and what caused what" });
    for (const column of layout.columns) {
      const { session, x } = column;
      const label = helm.bytes.printable(session.id === null ? "unread" : (session.start?.principal ?? "no start")).slice(0, 18);
      svg.append(drawn("text", { x, y: 18, class: "column" }, label), drawn("text", { x, y: 32, class: "column quiet" }, (session.id ?? "").slice(0, 8)));
    }
    for (const edge of layout.edges) svg.append(drawn("path", { class: "edge " + edge.kind, d: pathOf(edge) }));
    for (const { entry, x, y } of layout.nodes) {
      const title = drawn("title", {}, `receipt ${entry.index}: ${helm.tale.titleOf(entry.receipt)}`);
      const node = drawn("circle", { cx: x, cy: y, r: 7, class: `node tone-${entry.tone}${entry.faults.length ? " faulty" : ""}` }, title);
      svg.append(drawn("a", { href: "#receipt-" + entry.index }, node), drawn("text", { x: x + 12, y: y + 4, class: "label" }, labelOf(entry)));
    }
    const box = element("section", { class: "graph" }, element("h2", {}, "ProofGraph"), element("div", { class: "scroll" }, svg));
    if (layout.omitted) box.append(element("p", { class: "quiet" }, `and ${layout.omitted} receipts more, which the story above tells`));
    return box;
  }

  function labelOf({ index, receipt }) {
    const what = !receipt ? "unread" : (receipt.verdict ?? receipt.status ?? receipt.statement?.kind ?? receipt.shape);
    return `${index} ${what}`;
  }

  // A cause in the same column would hide behind the session's edge, so it takes a bow to the left.
  function pathOf({ from, to, kind }) {
    if (kind === "session") return `M ${from.x} ${from.y} L ${to.x} ${to.y}`;
    const bow = from.x === to.x ? Math.min(40, 14 + (to.y - from.y) / 8) : 0;
    const middle = (from.y + to.y) / 2;
    return `M ${from.x} ${from.y} C ${from.x - bow} ${middle}, ${to.x - bow} ${middle}, ${to.x} ${to.y}`;
  }

  return { report, notProven, story, graph, element };
})();

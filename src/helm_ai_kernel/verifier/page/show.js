// How the report looks, and the picture of what caused what.
helm.show = (() => {
  "use strict";
  const { element, drawn, quiet, foreign, row, anchor } = helm.elements;
  const { number, counted } = helm.words;

  function report({ report, overview }) {
    const { verdict, exit, findings, omitted, part, receipts, sessions, size } = report;
    const box = element("section", { class: "report", id: "report" });
    box.append(element("p", { class: "verdict verdict-" + verdict.toLowerCase() }, verdict, element("small", {}, ` exit ${exit}`)));
    if (part) {
      const of = size === null ? "a log" : `a log of ${number(size)}`;
      box.append(element("p", { class: "part" }, element("b", {}, "This is a part of a log. "), `Here ${receipts === 1 ? "is" : "are"} ${counted(receipts, "receipt")} of ${of}. What the others say, and whether something was left out that you should see, nobody can tell from this pack.`));
    }
    box.append(
      element("p", {}, helm.words.VERDICTS[verdict]),
      element(
        "dl",
        {},
        row("log", report.log === null ? "unknown" : foreign(report.log, { isName: true })),
        row("as of", size === null ? "no checkpoint that can be read" : `size ${number(size)}, root ${report.root}`),
        row("receipts", `${number(receipts)} in ${counted(sessions, "session")}`),
        row("attachments", `${number(overview.held)} here`, ...(overview.withheld ? [", ", element("span", { class: "withheld" }, `${number(overview.withheld)} withheld or erased`)] : [])),
        row("witnessed", ...witnessed(report)),
        ...overrides(overview),
      ),
      element("ul", { class: "axes" }, ...Object.entries(report.axes).map(([axis, value]) => element("li", { class: "axis axis-" + value }, axis, element("b", {}, value.replace("_", " "))))),
    );
    if (!findings.length) return box;
    box.append(element("h2", {}, "Findings"), element("ul", { class: "findings" }, ...findings.map(findingOf)));
    if (omitted) box.append(element("p", { class: "quiet" }, `and ${number(omitted)} more of these codes: of each the first 20 are shown`));
    return box;
  }

  // Nobody has to look for one.
  function overrides({ overrides: count, overridden }) {
    if (!count) return [];
    const where = helm.elements.commaed(overridden.map(anchor));
    return [row("overrides", helm.waits.badge(), " roots let held calls go without what they waited for: ", ...where, ...(count > overridden.length ? [" and others"] : []))];
  }

  function witnessed({ witnessed, axes }) {
    if (witnessed) return [`a quorum of the witnesses that you named had seen it by ${witnessed}`];
    return [quiet(axes.witnesses === "not_asked" ? "not asked: you named no witnesses" : "by no quorum of the witnesses that you named")];
  }

  function findingOf({ code, step, where, detail }) {
    const [, index] = /^receipt ([0-9]+)$/.exec(where) ?? [];
    return element("li", {}, element("b", {}, code), ` ${step}, `, index === undefined ? where : anchor(index), ": ", foreign(detail));
  }

  function notProven(report) {
    const items = report.not_proven.map((what) => element("li", {}, what));
    return element("section", { class: "unproven" }, element("h2", {}, "Not proven"), element("ul", {}, ...items));
  }

  function graph(layout, receipts) {
    const { width, height, nodes } = layout;
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "the receipts of each session and what caused what" });
    for (const { id, principal, x } of layout.columns) {
      const label = helm.bytes.printable(id === null ? "unread" : (principal ?? "no start here")).slice(0, 18);
      svg.append(drawn("text", { x, y: 18, class: "column" }, label), drawn("text", { x, y: 32, class: "column quiet" }, (id ?? "").slice(0, 8)));
    }
    for (const edge of layout.edges) svg.append(drawn("path", { class: `edge ${edge.kind}${edge.link ? " link-" + edge.link : ""}`, d: pathOf(edge) }, drawn("title", {}, `receipt ${edge.from.entry.index} → ${edge.to.entry.index}: ${edge.link ?? "session"}`)));
    for (const { entry, x, y } of nodes) {
      const title = drawn("title", {}, `receipt ${entry.index}: ${entry.title}`);
      const node = drawn("circle", { cx: x, cy: y, r: 7, class: `node tone-${entry.tone}${entry.faults.length ? " faulty" : ""}` }, title);
      if (entry.tone === "override") svg.append(drawn("rect", { x: x - 10, y: y - 10, width: 20, height: 20, class: "overridden", transform: `rotate(45 ${x} ${y})` }));
      svg.append(drawn("a", { href: "#receipt-" + entry.index, class: "ref" }, node), drawn("text", { x: x + (entry.tone === "override" ? 17 : 12), y: y + 4, class: "label" }, labelOf(entry)));
    }
    const box = element("section", { class: "graph" }, element("h2", {}, "ProofGraph"), element("div", { class: "scroll" }, svg));
    if (nodes.length < receipts) box.append(element("p", { class: "quiet" }, `This picture has the first ${number(nodes.length)} of ${number(receipts)} receipts, and not the others.`));
    return box;
  }

  function labelOf({ index, receipt }) {
    if (!receipt) return `${index} unread`;
    const { verdict, status, statement, shape } = receipt;
    const said = statement && helm.words.wordOf(statement);
    const what = said === "override" ? "OVERRIDE" : (verdict ?? status ?? said ?? shape);
    return `${index} ${what}${helm.finder.isByOverride(receipt) ? " by OVERRIDE" : ""}`;
  }

  // A cause in the same column would hide behind the session's edge, so it takes a bow to the left.
  function pathOf({ from, to, kind }) {
    if (kind === "session") return `M ${from.x} ${from.y} L ${to.x} ${to.y}`;
    const bow = from.x === to.x ? Math.min(40, 14 + (to.y - from.y) / 8) : 0;
    const middle = (from.y + to.y) / 2;
    return `M ${from.x} ${from.y} C ${from.x - bow} ${middle}, ${to.x - bow} ${middle}, ${to.x} ${to.y}`;
  }

  return { report, notProven, graph };
})();

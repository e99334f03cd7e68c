// The ProofGraph, as numbers: receipts as nodes, a column for each session, log order from top to bottom; an edge along
// each session and one from each cause to what it caused. Drawing it is the page's.
helm.graph = (() => {
  "use strict";
  const NODES_MAX = 400; // a picture with more is none; the story below it goes on
  const COLUMN = 160;
  const ROW = 26;
  const MARGIN = { left: 60, top: 46 };

  // {nodes: [{entry, x, y}], edges: [{from, to, kind: "session" | "cause"}], columns: [{session, x}], width, height, omitted}
  function layout(tale) {
    const shown = tale.entries.slice(0, NODES_MAX);
    const columnOf = new Map();
    const nodes = new Map();
    const tips = new Map();
    const edges = [];
    for (const entry of shown) {
      if (!columnOf.has(entry.session)) columnOf.set(entry.session, columnOf.size);
      const node = { entry, x: MARGIN.left + columnOf.get(entry.session) * COLUMN, y: MARGIN.top + nodes.size * ROW };
      nodes.set(entry.index, node);
      const before = tips.get(entry.session);
      if (before) edges.push({ from: before, to: node, kind: "session" });
      tips.set(entry.session, node);
      for (const cause of entry.receipt ? new Set(helm.receipt.causesOf(entry.receipt)) : []) {
        const from = nodes.get(tale.byLeaf.get(cause)?.index);
        if (from) edges.push({ from, to: node, kind: "cause" });
      }
    }
    const starts = new Map(tale.sessions.map((session) => [session.id, session]));
    return {
      nodes: [...nodes.values()],
      edges,
      columns: [...columnOf].map(([id, column]) => ({ session: starts.get(id), x: MARGIN.left + column * COLUMN })),
      width: MARGIN.left + columnOf.size * COLUMN,
      height: MARGIN.top + nodes.size * ROW,
      omitted: tale.entries.length - shown.length,
    };
  }

  return { layout };
})();

// The ProofGraph, as numbers: receipts as nodes, a column for each session, log order from top to bottom; an edge along
// each session and one from each cause to what it caused, which says as what it was named. Drawing it is the page's.
helm.graph = (() => {
  "use strict";
  const NODES_MAX = 400; // a picture with more is none; the story goes on
  const COLUMN = 160;
  const ROW = 26;
  const MARGIN = { left: 60, top: 46 };

  // {nodes: [{entry, x, y}], edges: [{from, to, kind: "session" | "cause"}], columns: [{id, principal, x}], width, height}
  function layout(entries) {
    const columns = new Map();
    const nodes = new Map();
    const tips = new Map();
    const edges = [];
    for (const entry of entries) {
      const { session, receipt } = entry;
      if (!columns.has(session)) columns.set(session, { id: session, principal: null, x: MARGIN.left + columns.size * COLUMN });
      const column = columns.get(session);
      column.principal ??= receipt?.principal ?? null;
      const node = { entry, x: column.x, y: MARGIN.top + nodes.size * ROW };
      nodes.set(entry.index, node);
      const before = tips.get(session);
      if (before) edges.push({ from: before, to: node, kind: "session" });
      tips.set(session, node);
      for (const { index, link } of entry.causes) {
        const from = nodes.get(index);
        if (from && from !== node) edges.push({ from, to: node, kind: "cause", link });
      }
    }
    const [width, height] = [MARGIN.left + columns.size * COLUMN, MARGIN.top + nodes.size * ROW];
    return { nodes: [...nodes.values()], edges, columns: [...columns.values()], width, height };
  }

  return { layout, NODES_MAX };
})();

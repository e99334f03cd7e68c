// The only file that makes elements. Text from a pack gets in as text nodes alone, cut into visible pieces; no markup is
// ever parsed from a string.
helm.elements = (() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

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

  function quiet(...children) {
    return element("span", { class: "quiet" }, ...children);
  }

  function button(text, work) {
    const made = element("button", { type: "button" }, text);
    made.addEventListener("click", () => work(made));
    return made;
  }

  // Somebody else's text.
  function foreign(text, options = {}) {
    const box = element("span", { class: options.isName ? "foreign name" : "foreign", dir: "ltr" });
    for (const { text: piece, mark, rest } of helm.visible.pieces(text, options)) {
      if (rest) box.append(element("span", { class: "mark" }, ` and ${rest} characters more`));
      else box.append(mark ? element("span", { class: "mark" }, piece) : piece);
    }
    return text === "" ? quiet("(empty)") : box;
  }

  const name = (text) => foreign(text, { isName: true, charactersMax: 300 });

  function short(digest) {
    return element("code", { class: "digest", title: digest }, digest.replace(/^sha256:/, "").slice(0, 12) + "…");
  }

  function row(label, ...values) {
    return element("div", { class: "row" }, element("dt", {}, label), element("dd", {}, ...values));
  }

  // Leads to a receipt; where that is not shown yet, the page goes and looks (page.js).
  function anchor(index) {
    return element("a", { href: "#receipt-" + index, class: "ref" }, "receipt " + index);
  }

  function link(leaf, { links, isPart }) {
    const index = links.get(leaf) ?? null;
    if (index !== null) return anchor(index);
    return isPart ? quiet("a receipt outside this part ", short(leaf)) : element("span", { class: "accused" }, "a receipt that is not here ", short(leaf));
  }

  function commaed(nodes) {
    return nodes.flatMap((node, at) => (at ? [", ", node] : [node]));
  }

  // Who signed a statement, by the names that the registry has for them.
  function signersOf({ signers }) {
    return commaed(signers.map((who) => (who === null ? element("span", { class: "accused" }, "a key that the registry does not have") : name(who))));
  }

  return { element, drawn, quiet, button, foreign, name, short, row, anchor, link, commaed, signersOf };
})();

// The story, some of it at a time: who reads on, asks the file again. What is not shown is said.
helm.story = (() => {
  "use strict";
  const { element, quiet, button, foreign, name } = helm.elements;
  const { number, counted } = helm.words;
  const SESSIONS_SHOWN = 20; // at once
  const ENTRIES_SHOWN = 50; // of a session, at once

  class Story {
    // `ask`: a question to a Teller.
    constructor(ask, { report, overview }) {
      Object.assign(this, { ask, overview, shown: 0 });
      this.found = element("div", { id: "found" });
      this.list = element("div");
      this.rest = element("p", { class: "quiet", id: "rest" });
      this.box = element("section", { class: "story" }, element("h2", {}, report.verdict === "VALID" ? "What happened" : "What the pack says that happened"));
      if (report.verdict !== "VALID") this.box.append(element("p", { class: "accused" }, `The pack is ${report.verdict}: read this with the findings in mind. What a finding is about is said beside it.`));
      if (overview.receipts) this.box.append(this.search(), this.found, this.list, this.rest);
      else this.box.append(quiet("The pack has no receipts."));
    }

    search() {
      const wanted = element("input", { type: "text", id: "wanted", placeholder: "number of a receipt, or id of a session", autocomplete: "off", spellcheck: "false" });
      const form = element("form", { id: "search" }, element("label", {}, "Find a receipt or a session ", wanted), element("button", {}, "Find"));
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.find(wanted.value);
      });
      return form;
    }

    async find(text) {
      const session = await this.ask("find", text, ENTRIES_SHOWN);
      if (!session) return this.found.replaceChildren(element("p", { class: "accused" }, "There is no such receipt or session in this pack."));
      this.list.querySelectorAll(".entry").forEach((entry) => session.entries.some(({ index }) => entry.id === "receipt-" + index) && entry.removeAttribute("id"));
      this.found.replaceChildren(element("p", { class: "quiet" }, "Found:"), this.sessionBox(session));
      this.found.scrollIntoView();
    }

    async more() {
      const { sessions, receipts } = this.overview;
      const boxes = await this.ask("sessions", this.shown, SESSIONS_SHOWN, ENTRIES_SHOWN);
      this.shown += boxes.length;
      this.list.append(...boxes.map((session) => this.sessionBox(session)));
      if (this.shown >= sessions) return this.rest.replaceChildren();
      const said = `Shown are the first ${number(this.shown)} of ${number(sessions)} sessions, of ${number(receipts)} receipts in all, and of each session at most ${ENTRIES_SHOWN} receipts. The others were verified, and are not shown. `;
      this.rest.replaceChildren(said, button("Show more sessions", () => this.more()));
    }

    sessionBox(session) {
      const { id, start, first, from, count, entries, list } = session;
      const who = start ? [name(start.principal), " at the door ", name(start.door), ...(start.client === null ? [] : [", client ", name(start.client)])] : ["a session whose start is not here"];
      const box = element("article", { class: "session" }, element("h3", {}, ...(id === null ? ["lines that nobody can read"] : who)));
      const about = id === null ? counted(count, "line") : `session ${id}, ${counted(count, "receipt")} here, ${from === null ? `from number ${first} on` : `shown from number ${from} on`}; `;
      box.append(element("p", { class: "quiet" }, about, endOf(session)));
      const items = element("ol", { class: "entries" });
      box.append(items);
      this.put(items, entries, list);
      return box;
    }

    // Up to as many as were asked for: there may be more behind them.
    put(items, entries, list) {
      items.append(...entries.map(entryBox));
      if (entries.length < ENTRIES_SHOWN) return;
      const { line } = entries.at(-1);
      items.append(
        button("Show more of this session", async (made) => {
          const others = await this.ask("entries", list, ENTRIES_SHOWN, line, true);
          made.remove();
          if (others.length) this.put(items, others, list);
          else items.append(quiet("There are no more."));
        }),
      );
    }
  }

  function endOf({ id, end, isPart }) {
    if (id === null) return "";
    if (isPart && !end) return "its end, if it has one, is not in this part";
    return end ? element("span", {}, "ended: ", name(end.reason)) : element("span", { class: "unknown" }, "it has no end here: its process died, or was still running");
  }

  function entryBox(entry) {
    const { index, receipt, tone, faults } = entry;
    const title = element("p", { class: "title" }, element("span", { class: "number" }, String(index)), element("b", {}, entry.title));
    for (const what of [receipt?.tool, receipt?.statement?.tool, receipt?.scope, receipt?.statement?.scope, entry.call?.receipt?.tool]) if (what !== undefined) title.append(" ", name(what));
    const accused = faults.map((fault) => element("p", { class: "accused" }, element("b", {}, fault.code), " ", foreign(fault.detail)));
    return element("li", { class: "entry tone-" + tone, id: "receipt-" + index }, title, element("dl", {}, ...helm.rows.rowsOf(entry)), ...accused);
  }

  return { Story };
})();

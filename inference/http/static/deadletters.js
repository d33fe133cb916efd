"use strict";
// The Dead letters view: why images failed, by code, and the way to try them again.

const deadLettersView = (() => {
  const PAGE = 200;
  const ITEMS_SHOWN = 50;
  let filter = {};
  let letters = [];
  let leaving = null;

  async function show({ query }, signal) {
    filter = { batch_id: query.get("batch_id") ?? "", code: query.get("code") ?? "", since: query.get("since") ?? "" };
    dom.byId("filter-batch").value = filter.batch_id;
    dom.byId("filter-code").value = filter.code;
    letters = [];
    leaving = signal;
    await more("");
  }

  async function more(next) {
    const signal = leaving;
    const list = dom.byId("deadletter-list");
    try {
      const page = await api.get("/deadletters", { ...filter, limit: PAGE, next }, signal);
      letters.push(...page.deadletters);
      list.replaceChildren(...describe(page.next));
    } catch (error) {
      if (error.name !== "AbortError") list.replaceChildren(api.explain(error));
    }
  }

  function describe(next) {
    if (!letters.length) return [dom.element("p", { class: "muted" }, "No failed images here.")];
    const groups = Map.groupBy(letters, ({ code }) => code);
    const largestFirst = [...groups].sort((a, b) => b[1].length - a[1].length);
    const loaded = `${format.plural(letters.length, "failed image")}${next ? " so far" : ""}`;
    return [
      dom.element(
        "div",
        { class: "actions" },
        dom.element("p", {}, loaded),
        next ? dom.element("button", { type: "button", click: () => more(next) }, "Load more") : null,
        dom.element("button", { type: "button", click: () => replay(filter) }, "Try all again…"),
        dom.element("button", { type: "button", click: exportAll }, "Export as a manifest"),
      ),
      ...largestFirst.map(([code, group]) => card(code, group)),
    ];
  }

  function card(code, group) {
    return dom.element(
      "article",
      { class: "card" },
      dom.element(
        "div",
        { class: "actions spread" },
        dom.element("h3", {}, dom.element("code", {}, code), ` ${format.plural(group.length, "image")}`),
        dom.element("button", { type: "button", click: () => replay({ ...filter, code }) }, "Try again…"),
      ),
      reasons(group),
      dom.fold("Images", items(group.slice(0, ITEMS_SHOWN)), rest(group.length - ITEMS_SHOWN)),
    );
  }

  function reasons(group) {
    const byMessage = [...Map.groupBy(group, ({ message }) => message)].sort((a, b) => b[1].length - a[1].length);
    const shown = byMessage.slice(0, 5).map(([message, same]) => {
      const times = byMessage.length > 1 ? ` (${format.count(same.length)})` : "";
      return dom.element("li", {}, `${message}${times}`);
    });
    return dom.element("ul", { class: "reasons" }, shown);
  }

  const rest = (number) =>
    number > 0 ? dom.element("p", { class: "muted" }, `… and ${format.plural(number, "image")} more`) : null;

  function items(group) {
    const head = ["Batch", "Image", "Url", "Attempts", "Last tried"].map((name) =>
      dom.element("th", { scope: "col", class: name === "Attempts" ? "number" : null }, name),
    );
    const rows = group.map((letter) =>
      dom.element(
        "tr",
        {},
        dom.element("td", {}, dom.element("a", { href: `#batches/${encodeURIComponent(letter.batch_id)}` }, letter.batch_id)),
        dom.element("td", {}, String(letter.id ?? letter.index ?? "")),
        dom.element("td", { class: "url" }, letter.url ?? ""),
        dom.element("td", { class: "number" }, String(letter.attempts ?? "")),
        dom.element("td", {}, letter.last_at ? format.time(letter.last_at) : ""),
      ),
    );
    return dom.element(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Failed images" },
      dom.element("table", {}, dom.element("thead", {}, dom.element("tr", {}, head)), dom.element("tbody", {}, rows)),
    );
  }

  /** Count first, ask, then replay. */
  async function replay(selection) {
    const outcome = dom.byId("replay-outcome");
    const wanted = Object.fromEntries(Object.entries(selection).filter(([, value]) => value));
    try {
      const counted = await api.post("/deadletters/replay", { ...wanted, dry_run: true });
      if (!counted.replayed) {
        outcome.replaceChildren("There is nothing left to try again.");
        return;
      }
      const what = `${format.plural(counted.replayed, "image")} of ${batches(counted)}`;
      if (!(await confirmation.ask("Try them again?", `${what} will be scored anew.`, "Try again"))) return;
      const done = await api.post("/deadletters/replay", { ...wanted, dry_run: false });
      outcome.replaceChildren(`Trying ${format.plural(done.replayed, "image")} again: `, ...links(done));
    } catch (error) {
      outcome.replaceChildren(api.explain(error));
    }
  }

  const batches = (outcome) => format.plural(outcome.batches.length, "batch").replace(/batchs$/, "batches");

  function links(outcome) {
    return outcome.batches.flatMap(({ batch_id: id }, index) => [
      index ? ", " : "",
      dom.element("a", { href: `#batches/${encodeURIComponent(id)}` }, id),
    ]);
  }

  async function exportAll() {
    try {
      await api.download("/deadletters/export", filter, "failed-images.jsonl");
    } catch (error) {
      dom.byId("replay-outcome").replaceChildren(api.explain(error));
    }
  }

  function listen() {
    dom.byId("filter-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = { batch_id: dom.byId("filter-batch").value.trim(), code: dom.byId("filter-code").value.trim() };
      const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
      const hash = `#deadletters?${query}`;
      if (location.hash === hash) dispatchEvent(new HashChangeEvent("hashchange"));
      else location.hash = hash;
    });
  }

  return { listen, show };
})();

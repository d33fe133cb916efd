"use strict";
// The Dead letters view: why images failed, by code, and the way to try them again.

const deadLettersView = (() => {
  const PAGE = 200;
  const ITEMS_SHOWN = 50;
  let filter = {};
  let letters = [];
  let leaving = null;
  let asked = null; // the page that is under way

  async function show({ query }, signal) {
    filter = { batch_id: query.get("batch_id") ?? "", code: query.get("code") ?? "", since: query.get("since") ?? "" };
    dom.byId("filter-batch").value = filter.batch_id;
    dom.byId("filter-code").value = filter.code;
    dom.byId("replay-outcome").replaceChildren();
    letters = [];
    leaving = signal;
    asked = null;
    await more("");
  }

  async function more(next) {
    if (asked === next) return; // a second click
    asked = next;
    const signal = leaving;
    const list = dom.byId("deadletter-list");
    try {
      const page = await api.get("/deadletters", { ...filter, limit: PAGE, next }, signal);
      letters.push(...page.deadletters);
      present(list, page.next);
    } catch (error) {
      if (error.name === "AbortError") return;
      asked = null;
      if (!letters.length) list.replaceChildren(api.explain(error));
      else {
        list.querySelector(".problem")?.remove();
        list.querySelector(".actions").after(api.explain(error));
      }
    }
  }

  /** Show all that came so far; what a reader had unfolded stays so. */
  function present(list, next) {
    const opened = [...list.querySelectorAll("article:has(details[open])")].map((node) => node.dataset.code);
    dom.replaceKeepingFocus(list, describe(next));
    for (const node of list.querySelectorAll("article")) {
      if (opened.includes(node.dataset.code)) node.querySelector("details").open = true;
    }
  }

  function describe(next) {
    if (!letters.length) return [dom.element("p", { class: "muted" }, "Nothing has failed here.")];
    const groups = Map.groupBy(letters, ({ code }) => code);
    const largestFirst = [...groups].sort((a, b) => b[1].length - a[1].length);
    const loaded = `${format.plural(letters.length, "dead letter")}${next ? " so far" : ""}`;
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

  const batchLink = (id) => dom.element("a", { href: `#batches/${encodeURIComponent(id)}` }, id);

  const isMessage = ({ kind }) => kind === "message";

  /** What failed, counted: images, whole messages (a manifest that cannot be read), or some of both. */
  function things(group) {
    const messages = group.filter(isMessage).length;
    return format.plural(group.length, messages === 0 ? "image" : messages === group.length ? "message" : "dead letter");
  }

  function card(code, group) {
    return dom.element(
      "article",
      { class: "card", "data-code": code },
      dom.element(
        "div",
        { class: "actions spread" },
        dom.element("h3", {}, dom.element("code", {}, code), ` ${things(group)}`),
        dom.element("button", { type: "button", click: () => replay({ ...filter, code }) }, "Try again…"),
      ),
      reasons(group),
      dom.fold("Each of them", items(group.slice(0, ITEMS_SHOWN)), rest(group.length - ITEMS_SHOWN)),
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
    number > 0 ? dom.element("p", { class: "muted" }, `… and ${format.count(number)} more`) : null;

  function items(group) {
    const head = ["Batch", "Image", "Url or queue", "Attempts", "Last tried"].map((name) =>
      dom.element("th", { scope: "col", class: name === "Attempts" ? "number" : null }, name),
    );
    const rows = group.map((letter) => {
      const [name, place] = isMessage(letter) ? ["message", letter.queue] : [letter.id, letter.url];
      return dom.element(
        "tr",
        {},
        dom.element("td", {}, letter.batch_id ? batchLink(letter.batch_id) : "–"),
        dom.element("td", {}, name),
        dom.element("td", { class: "url" }, place),
        dom.element("td", { class: "number" }, format.count(letter.attempts)),
        dom.element("td", {}, format.time(letter.last_at)),
      );
    });
    return dom.element(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Dead letters" },
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
      const what = `${format.plural(counted.replayed, "dead letter")} will be tried again.`;
      if (!(await confirmation.ask("Try again?", what, "Try again"))) return;
      const done = await api.post("/deadletters/replay", { ...wanted, dry_run: false });
      outcome.replaceChildren(`${format.plural(done.replayed, "dead letter")} under way: `, ...links(done));
    } catch (error) {
      outcome.replaceChildren(api.explain(error));
    }
  }

  function links(outcome) {
    const ids = [...new Set(outcome.batches.map(({ batch_id: id }) => id))].filter(Boolean);
    return ids.flatMap((id, index) => [index ? ", " : "", batchLink(id)]);
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

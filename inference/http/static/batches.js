"use strict";
// The Batches view: every batch with its progress; one of them in detail when the address names it.

const batchesView = (() => {
  const REFRESH_MILLISECONDS = 2000;
  const LISTED = 50;

  function show({ id }, signal) {
    dom.byId("batch-detail").hidden = !id;
    dom.byId("batch-overview").hidden = Boolean(id);
    const refresh = id ? batchView.open(id, signal) : () => showAll(signal);
    return follow(signal, refresh);
  }

  /** Call `refresh` now, and again while it says that something is under way and someone looks. */
  async function follow(signal, refresh) {
    let isActive = true;
    while (isActive && !signal.aborted) {
      if (!document.hidden) isActive = await refresh();
      if (isActive) await new Promise((resolve) => setTimeout(resolve, REFRESH_MILLISECONDS));
    }
  }

  async function showAll(signal) {
    const list = dom.byId("batch-list");
    try {
      const { batches } = await api.get("/batches", { limit: LISTED }, signal);
      list.replaceChildren(...(batches.length ? [table(batches), older(batches)] : [muted("No batches yet.")]));
      return batches.some(batchView.isActive);
    } catch (error) {
      if (error.name === "AbortError") return false;
      api.complain(list, error);
      return api.isPassing(error);
    }
  }

  const muted = (text) => dom.element("p", { class: "muted" }, text);

  const older = ({ length }) =>
    length < LISTED ? "" : muted(`These are the newest ${LISTED}; any other is at ${api.url("ui")}#batches/ID.`);

  function table(batches) {
    const head = ["Batch", "State", "Progress", "Failed", "Submitted"].map((name) =>
      dom.element("th", { scope: "col", class: name === "Failed" ? "number" : null }, name),
    );
    const rows = batches.map((batch) =>
      dom.element(
        "tr",
        {},
        dom.element("td", {}, dom.element("a", { href: `#batches/${encodeURIComponent(batch.batch_id)}` }, batch.batch_id)),
        dom.element("td", {}, dom.badge(batch.state)),
        dom.element("td", {}, batchView.progress(batch)),
        dom.element("td", { class: "number" }, format.count(batch.failed)),
        dom.element("td", {}, format.time(batch.created_at)),
      ),
    );
    return dom.element(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Batches" },
      dom.element("table", {}, dom.element("thead", {}, dom.element("tr", {}, head)), dom.element("tbody", {}, rows)),
    );
  }

  return { listen: submission.listen, show };
})();

"use strict";
// One batch in detail: how far it is, why images failed, and what can be done with it.

const batchView = (() => {
  const ACTIVE = new Set(["queued", "running"]);

  const at = (batchId) => `/batches/${encodeURIComponent(batchId)}`;

  const deadLetters = (batchId, more = {}) => `#deadletters?${new URLSearchParams({ batch_id: batchId, ...more })}`;

  const isActive = ({ state }) => ACTIVE.has(state);

  /** Show the batch's frame and return what refreshes it; that resolves to whether it is worth another look. */
  function open(id, signal) {
    const live = dom.element("div");
    const command = dom.fold("As a command", dom.copyable(curl.command({ url: api.url(at(id)) })));
    const back = dom.element("p", {}, dom.element("a", { href: "#batches" }, "← All batches"));
    dom.byId("batch-detail").replaceChildren(back, dom.element("article", { class: "card" }, live, command));
    let lastState = "";

    return async () => {
      try {
        const batch = await api.get(at(id), {}, signal);
        if (batch.state !== lastState) dom.announce(`Batch ${id} is ${batch.state}`);
        lastState = batch.state;
        dom.replaceKeepingFocus(live, describe(batch));
        return isActive(batch);
      } catch (error) {
        if (error.name === "AbortError") return false;
        api.complain(live, error);
        return api.isPassing(error);
      }
    };
  }

  function progress({ total, succeeded, failed }) {
    const done = succeeded + failed;
    const share = (number) => (total ? number / total : 0);
    const good = dom.element("span", { class: "bar-fill good" });
    const bad = dom.element("span", { class: "bar-fill bad" });
    good.style.width = `${share(succeeded) * 100}%`;
    bad.style.width = `${share(failed) * 100}%`;
    const percent = total ? `${Math.floor(share(done) * 100)}%` : "–";
    return dom.element(
      "span",
      { class: "progress" },
      dom.element("span", { class: "bar", "aria-hidden": "true" }, good, bad),
      dom.element("span", { class: "number" }, percent),
    );
  }

  function describe(batch) {
    const { batch_id: id, eta_seconds: eta } = batch;
    const facts = [
      ["Images", format.count(batch.total)],
      ["Succeeded", format.count(batch.succeeded)],
      ["Failed", format.count(batch.failed)],
      ["Pending", format.count(batch.pending)],
      ["Submitted", format.time(batch.created_at)],
      ["Updated", format.time(batch.updated_at)],
    ];
    if (batch.model) facts.push(["Model", `${batch.model} version ${batch.version}`]);
    if (batch.round) facts.push(["Replays", format.count(batch.round)]);
    if (isActive(batch) && typeof eta === "number") facts.push(["Left, about", format.duration(eta)]);
    return [
      dom.element("h2", {}, id, " ", dom.badge(batch.state)),
      progress(batch),
      batch.error ? dom.element("p", { class: "problem" }, `${batch.error.message} (${batch.error.code})`) : null,
      dom.definitions(facts),
      failures(id, batch.errors),
      dom.element("div", { class: "actions" }, actions(batch)),
    ].filter(Boolean);
  }

  function failures(id, errors) {
    const codes = Object.entries(errors ?? {}).sort((a, b) => b[1] - a[1]);
    if (!codes.length) return null;
    const items = codes.map(([code, number]) =>
      dom.element("li", {}, dom.element("a", { href: deadLetters(id, { code }) }, code), ` ${format.count(number)}`),
    );
    return dom.element("section", {}, dom.element("h3", {}, "Why images failed"), dom.element("ul", { class: "codes" }, items));
  }

  function actions(batch) {
    const { batch_id: id, failed } = batch;
    const results = (kind) => () => api.download(`${at(id)}/results`, { format: kind }, `${id}.${kind}`);
    const buttons = [];
    if (batch.error) return [dom.element("a", { class: "button", href: deadLetters(id) }, "Dead letter")];
    if (!isActive(batch)) {
      buttons.push(button("Results as JSON Lines", results("jsonl")), button("Results as CSV", results("csv")));
    } else {
      buttons.push(button("Cancel batch…", () => cancel(id)));
    }
    if (failed) buttons.push(dom.element("a", { class: "button", href: deadLetters(id) }, "Failed images"));
    return buttons;
  }

  function button(text, act) {
    const node = dom.element("button", { type: "button", click: run }, text);
    async function run() {
      node.disabled = true;
      try {
        await act();
      } catch (error) {
        node.after(api.explain(error));
      }
      node.disabled = false;
    }
    return node;
  }

  async function cancel(id) {
    const text = `Images of ${id} that are not scored yet end as failed. Replaying these resumes the batch.`;
    if (!(await confirmation.ask("Cancel this batch?", text, "Cancel batch"))) return;
    await api.send("DELETE", at(id));
    dom.announce("The batch is ending");
  }

  return { open, isActive, progress };
})();

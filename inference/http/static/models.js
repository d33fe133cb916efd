"use strict";
// The Models view, and the choice of a model in the other views.

const modelsView = (() => {
  async function show(_, signal) {
    const list = dom.byId("model-list");
    try {
      const { models } = await api.get("/models", {}, signal);
      offer(models);
      list.replaceChildren(...(models.length ? models.map(card) : [empty()]));
    } catch (error) {
      if (error.name !== "AbortError") list.replaceChildren(api.explain(error));
    }
  }

  const empty = () => dom.element("p", { class: "muted" }, "The model repository is empty.");

  function card(model) {
    const load = dom.element("button", { type: "button", click: () => reload(model.name, node) }, "Load");
    const failed = model.versions.filter((version) => version.reason);
    const node = dom.element(
      "article",
      { class: "card" },
      dom.element("h3", {}, model.name, " ", dom.badge(model.state)),
      dom.definitions(facts(model)),
      model.versions.length > 1 ? versions(model) : null,
      failed.map((version) => dom.element("p", { class: "problem" }, `Version ${version.version}: ${version.reason}`)),
      labels(model.labels),
      model.state === "ready" ? null : load,
    );
    return node;
  }

  function facts({ version, task, labels: names, sha256 }) {
    const known = [["Serves version", version ?? "none"]];
    if (task) known.push(["Task", task]);
    if (names) known.push(["Labels", format.count(names.length)]);
    if (sha256) known.push(["SHA-256", dom.element("code", { title: sha256 }, sha256.slice(0, 16))]);
    return known;
  }

  function versions(model) {
    const items = model.versions.map((version) =>
      dom.element("li", {}, `${version.version} `, dom.badge(version.state)),
    );
    return dom.element("ul", { class: "versions", "aria-label": `Versions of ${model.name}` }, items);
  }

  function labels(names) {
    if (!names?.length) return null;
    return dom.fold("Labels", dom.element("p", { class: "labels" }, names.join(", ")));
  }

  async function reload(name, node) {
    node.setAttribute("aria-busy", "true");
    try {
      node.replaceWith(card(await api.get(`/models/${encodeURIComponent(name)}`)));
      dom.announce(`${name} is loaded`);
    } catch (error) {
      node.removeAttribute("aria-busy");
      node.append(api.explain(error));
    }
  }

  /** Fill the menus where a model is chosen. */
  function offer(models) {
    for (const menu of document.querySelectorAll("select.models")) {
      const chosen = menu.value;
      menu.replaceChildren(menu.options[0], ...models.flatMap(options));
      menu.value = [...menu.options].some((option) => option.value === chosen) ? chosen : "";
    }
  }

  function options({ name, versions: published }) {
    const whole = dom.element("option", { value: name }, name);
    if (published.length < 2) return [whole];
    const single = published.map(({ version }) =>
      dom.element("option", { value: `${name}:${version}` }, `${name} version ${version}`),
    );
    return [whole, ...single];
  }

  /** Fill the menus; without them the default model can still be used. */
  async function prepare() {
    try {
      offer((await api.get("/models")).models);
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
    }
  }

  return { listen: () => {}, show, prepare };
})();

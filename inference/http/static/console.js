"use strict";
// The frame of the console: which view is shown, the key, and whether the service is ready.

(() => {
  const VIEWS = { score: scoreView, batches: batchesView, deadletters: deadLettersView, models: modelsView };
  const READY_MILLISECONDS = 5000;
  let leaving = new AbortController();
  let isWatching = false;

  /** `#batches/ID` or `#deadletters?code=…` as { name, id, query }. */
  function place() {
    const [path, query = ""] = location.hash.slice(1).split("?");
    const [name, id = ""] = path.split("/");
    return { name: Object.hasOwn(VIEWS, name) ? name : "score", id: decode(id), query: new URLSearchParams(query) };
  }

  /** What is no encoding, as in a link that was cut off, stays as it is: the service will not know that batch. */
  function decode(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  function show() {
    leaving.abort();
    leaving = new AbortController();
    const wanted = place();
    for (const name of Object.keys(VIEWS)) dom.byId(name).hidden = name !== wanted.name;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.hash === `#${wanted.name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    VIEWS[wanted.name].show(wanted, leaving.signal);
  }

  function listenToKey() {
    const field = dom.byId("key");
    field.value = api.key();
    field.addEventListener("change", () => {
      api.setKey(field.value.trim());
      field.removeAttribute("aria-invalid");
      modelsView.prepare();
      show();
    });
    document.addEventListener("key-refused", () => field.setAttribute("aria-invalid", "true"));
  }

  /** Skip the header; followed as a link, it would leave the view, which the fragment names. */
  function listenToSkip() {
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault();
      dom.byId("main").focus();
    });
  }

  /** Look until the service is ready, and again once a request of some view found nobody. */
  async function watchReadiness() {
    if (isWatching) return;
    isWatching = true;
    const shown = dom.byId("readiness");
    for (let state = ""; state !== "ready"; ) {
      if (state) await new Promise((resolve) => setTimeout(resolve, READY_MILLISECONDS));
      // A 503 is an ordinary answer here, so that this does not go through `api`.
      const reply = await fetch(api.url("/ready"), { cache: "no-store" }).catch(() => null);
      state = reply === null ? "unreachable" : reply.ok ? "ready" : "not ready";
      shown.textContent = state;
      shown.className = `badge ${state.replace(" ", "-")}`;
    }
    isWatching = false;
  }

  async function showVersion() {
    try {
      dom.byId("version").textContent = `version ${(await api.get("/version")).version}`;
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
    }
  }

  for (const view of Object.values(VIEWS)) view.listen();
  listenToKey();
  listenToSkip();
  addEventListener("hashchange", show);
  document.addEventListener("service-lost", watchReadiness);
  show();
  modelsView.prepare();
  watchReadiness();
  showVersion();
})();

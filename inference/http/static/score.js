"use strict";
// The Score view: one image or text in, its predictions, timings and the same request as a command out.

const scoreView = (() => {
  const STAGES = ["fetch", "decode", "preprocess", "queue", "run", "postprocess"];
  let source = null; // { file }, { url } or { text }: what was scored last
  let preview = null; // the object url of that file
  let running = null;
  let asking = null; // the look at what the chosen model takes

  const field = (id) => dom.byId(id).value.trim();

  function parameters() {
    const values = {};
    if (field("top-k")) values.top_k = Number(field("top-k"));
    if (field("min-score")) values.min_score = Number(field("min-score"));
    return values;
  }

  function path() {
    const [model, version] = field("score-model").split(":").map(encodeURIComponent);
    if (!model) return "/score";
    return version ? `/models/${model}/versions/${version}/score` : `/models/${model}/score`;
  }

  /** The request for a source, as `api.send` and `curl.command` take it. */
  function describe(chosen) {
    if (chosen.file) {
      const type = chosen.file.type || "application/octet-stream";
      return { query: parameters(), body: chosen.file, type, file: chosen.file.name };
    }
    const wanted = parameters();
    const value = Object.keys(wanted).length ? { ...chosen, parameters: wanted } : chosen;
    return { body: JSON.stringify(value), type: "application/json", data: JSON.stringify(value) };
  }

  /** Offer the field that the chosen model's task asks for; an image's where that cannot be known. */
  async function adapt() {
    asking?.abort();
    const { signal } = (asking = new AbortController());
    try {
      const name = field("score-model") || (await defaultModel(signal));
      const model = name ? await api.get(`/models/${encodeURIComponent(name.split(":")[0])}`, {}, signal) : null;
      offer(model?.task === "text");
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof api.ApiError)) throw error;
      offer(false);
    }
  }

  /** The service's own choice is the first of the models that it has to have ready. */
  async function defaultModel(signal) {
    const reply = await api.ask("GET", "/ready", { signal }); // a 503 names them too
    return (await api.read(reply))?.models?.[0]?.model;
  }

  function offer(isText) {
    dom.byId("drop").hidden = isText;
    dom.byId("text-form").hidden = !isText;
    dom.byId("url-label").textContent = isText ? "Text url" : "Image url";
    const isLastUsable = source && (source.url !== undefined || isText === (source.text !== undefined));
    dom.byId("score-again").hidden = !isLastUsable;
  }

  async function score(chosen) {
    running?.abort();
    const controller = (running = new AbortController());
    choose(chosen);
    const request = describe(chosen);
    const command = { method: "POST", url: api.url(path(), request.query), ...request };
    const result = dom.byId("score-result");
    result.setAttribute("aria-busy", "true");
    const started = performance.now();
    try {
      const reply = await api.send("POST", path(), { ...request, signal: controller.signal });
      const scored = await api.read(reply);
      present(scored, performance.now() - started, command);
    } catch (error) {
      if (error.name === "AbortError") return;
      result.replaceChildren(api.explain(error), commandFold(command));
    }
    result.removeAttribute("aria-busy");
    dom.byId("score-again").hidden = false;
  }

  function choose(chosen) {
    if (chosen === source) return;
    if (preview) URL.revokeObjectURL(preview);
    preview = chosen.file ? URL.createObjectURL(chosen.file) : null;
    source = chosen;
  }

  function present(scored, elapsed, command) {
    if (!Array.isArray(scored?.predictions) || !scored.timings_ms) {
      dom.byId("score-result").replaceChildren(
        dom.element("p", { class: "muted" }, "The answer of the version's own score.py"),
        dom.copyable(JSON.stringify(scored, null, 2)),
        commandFold(command),
      );
      dom.announce("Answered");
      return;
    }
    // A model of texts has seen no image.
    const frame = scored.image ? picture.show(preview ?? source.url, scored.image, scored.predictions) : null;
    const best = scored.predictions[0];
    dom.byId("score-result").replaceChildren(
      frame ?? "",
      dom.element("p", { class: "muted" }, summary(scored)),
      predictions(scored.predictions, frame),
      timings(scored.timings_ms, elapsed),
      commandFold(command),
      dom.fold("Reply", dom.copyable(JSON.stringify(scored, null, 2))),
    );
    dom.announce(best ? `${best.label}, ${format.score(best.score)}` : "No predictions");
  }

  function summary({ model, version, task, image }) {
    const seen = image ? ` · ${image.width} × ${image.height} ${image.format}` : "";
    return `${model} version ${version} · ${task}${seen}`;
  }

  function predictions(found, frame) {
    if (!found.length) return dom.element("p", {}, "No prediction has a score that high.");
    const top = Math.max(1, ...found.map((prediction) => prediction.score));
    let position = 0;
    const rows = found.map((prediction) => {
      const box = picture.isBox(prediction) ? position++ : -1;
      const pointing = box < 0 ? {} : {
        pointerenter: () => picture.highlight(frame, box),
        pointerleave: () => picture.highlight(frame, -1),
      };
      return dom.element(
        "li",
        pointing,
        dom.element("span", { class: "label" }, prediction.label),
        dom.bar(prediction.score / top),
        dom.element("span", { class: "number" }, format.score(prediction.score)),
      );
    });
    return dom.element("ol", { class: "predictions", "aria-label": "Predictions" }, rows);
  }

  function timings(milliseconds, elapsed) {
    const total = STAGES.reduce((sum, stage) => sum + (milliseconds[stage] ?? 0), 0);
    const parts = STAGES.map((stage) => {
      const part = dom.element("span", { class: `stage-${stage}` });
      part.style.flexGrow = String(total ? (milliseconds[stage] ?? 0) / total : 0);
      return part;
    });
    const legend = STAGES.map((stage) =>
      dom.element(
        "div",
        {},
        dom.element("dt", {}, dom.element("span", { class: `swatch stage-${stage}`, "aria-hidden": "true" }), stage),
        dom.element("dd", {}, format.milliseconds(milliseconds[stage] ?? 0)),
      ),
    );
    return dom.element(
      "section",
      { class: "timings", "aria-label": "Timings" },
      dom.element(
        "p",
        {},
        `${format.milliseconds(total)} in the service`,
        dom.element("span", { class: "muted" }, ` · ${format.milliseconds(elapsed)} seen from here`),
      ),
      dom.element("div", { class: "stages", "aria-hidden": "true" }, parts),
      dom.element("dl", { class: "legend" }, legend),
    );
  }

  const commandFold = (command) => dom.fold("As a command", dom.copyable(curl.command(command)));

  function listen() {
    const zone = dom.byId("drop");
    const picker = dom.byId("image-file");
    picker.addEventListener("change", () => {
      if (picker.files.length) score({ file: picker.files[0] });
      picker.value = ""; // the same file can be picked again
    });
    for (const name of ["dragenter", "dragover"]) {
      zone.addEventListener(name, (event) => {
        event.preventDefault();
        zone.classList.add("over");
      });
    }
    for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) score({ file: event.dataTransfer.files[0] });
    });
    // A file dropped beside the zone would be opened in place of the console.
    for (const name of ["dragover", "drop"]) {
      addEventListener(name, (event) => {
        if (event.dataTransfer?.types.includes("Files") && event.target.type !== "file") event.preventDefault();
      });
    }
    dom.byId("url-form").addEventListener("submit", (event) => {
      event.preventDefault();
      score({ url: field("source-url") });
    });
    dom.byId("text-form").addEventListener("submit", (event) => {
      event.preventDefault();
      score({ text: dom.byId("text-input").value });
    });
    dom.byId("score-model").addEventListener("change", adapt);
    dom.byId("score-again").addEventListener("click", () => score(source));
    document.addEventListener("paste", pasteImage);
  }

  function pasteImage(event) {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file && dom.byId("drop").checkVisibility()) score({ file });
  }

  return { listen, show: adapt };
})();

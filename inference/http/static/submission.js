"use strict";
// The form that submits a manifest.

const submission = (() => {
  const BYTES_SHOWN = 100_000;
  const TYPES = { json: "application/json", jsonl: "application/x-ndjson", ndjson: "application/x-ndjson", csv: "text/csv", gz: "application/gzip" };
  let file = null; // a manifest too large for the text area, or no text

  function listen() {
    const text = dom.byId("manifest-text");
    text.addEventListener("input", () => {
      file = null;
      describeManifest(text.value);
    });
    dom.byId("manifest-file").addEventListener("change", (event) => take(event.target.files[0]));
    dom.byId("batch-form").addEventListener("submit", submit);
  }

  async function take(chosen) {
    if (!chosen) return;
    const text = dom.byId("manifest-text");
    file = chosen.size > BYTES_SHOWN || isPacked(chosen) ? chosen : null;
    text.value = file ? "" : await chosen.text();
    if (file) describeFile(file);
    else describeManifest(text.value);
  }

  const ending = ({ name }) => name.split(".").pop().toLowerCase();

  const isPacked = (chosen) => ending(chosen) === "gz";

  const note = (text) => (dom.byId("manifest-note").textContent = text);

  function describeFile({ name, size }) {
    note(`${name}, ${format.count(Math.ceil(size / 1024))} KiB, is sent as it is.`);
  }

  function describeManifest(text) {
    const { name, images } = manifest.read(text);
    note(!text.trim() ? "" : images === null ? `Read as ${name}.` : `Read as ${name}: ${format.plural(images, "image")}.`);
  }

  async function submit(event) {
    event.preventDefault();
    const send = dom.byId("batch-submit");
    send.disabled = true;
    try {
      const reply = await api.send("POST", "/batches", await request());
      const { batch_id: id } = await api.read(reply);
      event.target.reset();
      file = null;
      note("");
      location.hash = `batches/${encodeURIComponent(id)}`;
    } catch (error) {
      dom.byId("manifest-note").replaceChildren(api.explain(error));
    }
    send.disabled = false;
  }

  /** The manifest as it is sent: options go into a JSON object, and into the query beside everything else. */
  async function request() {
    const options = { batch_id: dom.byId("batch-id").value.trim(), model: dom.byId("batch-model").value };
    if (file) return { query: options, body: file, type: TYPES[ending(file)] ?? "text/plain" };
    const text = dom.byId("manifest-text").value;
    const { type, value } = manifest.read(text);
    if (!value) return { query: options, body: text, type };
    const given = Object.fromEntries(Object.entries(options).filter(([, chosen]) => chosen));
    return { body: JSON.stringify({ ...value, ...given }), type };
  }

  return { listen };
})();

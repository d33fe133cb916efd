"use strict";
// What a manifest's text is: its media type and how many images it seems to name. The service reads it for real.

const manifest = (() => {
  const lines = (text) => text.split(/\r?\n/).filter((line) => line.trim());

  function parsed(text) {
    try {
      const value = JSON.parse(text);
      return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
    } catch {
      return null;
    }
  }

  /** Return { type, name, images, value }; `value` only for a JSON object. */
  function read(text) {
    const found = lines(text);
    const value = parsed(text);
    if (value && !("url" in value)) {
      return { type: "application/json", name: "JSON", images: value.images?.length ?? null, value };
    }
    if (found[0]?.trimStart().startsWith("{")) {
      return { type: "application/x-ndjson", name: "JSON Lines", images: found.length };
    }
    if (found[0]?.split(",").some((cell) => cell.trim().replaceAll('"', "") === "url")) {
      return { type: "text/csv", name: "CSV", images: found.length - 1 };
    }
    return { type: "text/plain", name: "urls", images: found.length };
  }

  return { read };
})();

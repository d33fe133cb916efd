"use strict";
// The documentation page: openapi.json for a reader.

(() => {
  const method = (name) => dom.element("span", { class: `method ${name}` }, name.toUpperCase());

  const pretty = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

  function parameters(list) {
    if (!list?.length) return null;
    const rows = list.map((one) => [
      dom.element("code", {}, one.name),
      one.in,
      [...schema.type(one.schema), one.required ? dom.element("span", { class: "required" }, " required") : null],
      schema.marked(one.description ?? ""),
    ]);
    return [dom.element("h4", {}, "Parameters"), schema.table(["Name", "In", "Type", ""], rows)];
  }

  function examplesOf(media) {
    if (media.example !== undefined) return [["Example", media.example]];
    return Object.values(media.examples ?? {}).map((example) => [example.summary, example.value]);
  }

  function content(types) {
    return Object.entries(types ?? {}).map(([name, media]) =>
      dom.element(
        "div",
        { class: "media" },
        dom.element("p", {}, dom.element("code", {}, name), " ", media.schema ? schema.type(media.schema) : null),
        examplesOf(media).map(([title, value]) => dom.fold(title, dom.copyable(pretty(value)))),
      ),
    );
  }

  function replies(document, responses) {
    const rows = Object.entries(responses).map(([status, given]) => {
      const reply = given.$ref ? document.components.responses[given.$ref.split("/").pop()] : given;
      const isError = Number(status) >= 400;
      return [
        dom.element("span", { class: `status ${isError ? "bad" : "good"}` }, status),
        [schema.prose(reply.description), isError ? null : content(reply.content), links(reply.links)],
      ];
    });
    return [dom.element("h4", {}, "Replies"), schema.table(["Status", ""], rows)];
  }

  function links(found) {
    const names = Object.values(found ?? {});
    if (!names.length) return null;
    const items = names.map((one) =>
      dom.element("li", {}, dom.element("a", { href: `#${one.operationId}` }, one.operationId), ` ${one.description}`),
    );
    return dom.element("div", {}, dom.element("p", { class: "muted" }, "Then:"), dom.element("ul", {}, items));
  }

  function commands(document, path, name, operation) {
    const bodies = Object.entries(operation.requestBody?.content ?? {});
    const single = (more) => curl.command({
      method: name.toUpperCase(),
      url: address(document, path, operation),
      needsKey: operation.security.length > 0,
      ...more,
    });
    if (!bodies.length) return [dom.copyable(single({}))];
    return bodies.flatMap(([type, media]) => bodyCommands(type, media, single));
  }

  function bodyCommands(type, media, single) {
    if (type === "multipart/form-data") {
      return [dom.copyable(`${single({ method: "GET" })} \\\n  -F image=@digit-7.png -F top_k=3`)];
    }
    const examples = examplesOf(media);
    if (!examples.length) {
      const concrete = type === "image/*" ? "image/png" : type;
      return [dom.copyable(single({ type: concrete, file: "digit-7.png" }))];
    }
    return examples.map(([, value]) =>
      dom.copyable(single({ type, data: typeof value === "string" ? value : JSON.stringify(value) })),
    );
  }

  function address(document, path, operation) {
    const filled = (operation.parameters ?? []).reduce(
      (text, one) => (one.in === "path" ? text.replace(`{${one.name}}`, one.example) : text),
      path,
    );
    const query = (operation.parameters ?? []).some((one) => one.name === "url" && one.required)
      ? "?url=https://example.com/digit-7.png"
      : "";
    return document.servers[0].url + filled + query;
  }

  function section(document, path, name, operation) {
    const isOpen = operation.security.length === 0;
    return dom.element(
      "article",
      { class: "card operation", id: operation.operationId },
      dom.element("h3", {}, method(name), " ", dom.element("code", {}, path)),
      dom.element("p", {}, operation.summary, ". ", isOpen ? dom.element("span", { class: "muted" }, "No key needed.") : null),
      operation.description ? schema.prose(operation.description) : null,
      parameters(operation.parameters),
      operation.requestBody ? [dom.element("h4", {}, "Body"), content(operation.requestBody.content)] : null,
      dom.fold("As commands", ...commands(document, path, name, operation)),
      dom.fold("Replies", ...replies(document, operation.responses).slice(1)),
    );
  }

  function operationsOf(document, tag) {
    return Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([, operation]) => operation.tags.includes(tag))
        .map(([name, operation]) => ({ path, name, operation })),
    );
  }

  function introduction(document) {
    const key = document.components.securitySchemes.functionKey;
    return [
      dom.element("h1", {}, `${document.info.title} API`),
      dom.element("p", { class: "muted" }, `version ${document.info.version} · OpenAPI ${document.openapi} · `,
        dom.element("a", { href: "openapi.json" }, "openapi.json"), " · ", dom.element("a", { href: "ui" }, "console")),
      schema.prose(document.info.description),
      dom.element("p", {}, "Send the key in the header ", dom.element("code", {}, key.name), ". ", schema.marked(key.description)),
      dom.element("p", {}, "Every path is below ", dom.element("code", {}, document.servers[0].url), "."),
    ];
  }

  function errorCodes(document) {
    const rows = document["x-error-codes"].map((row) => [
      dom.element("code", {}, row.code),
      String(row.status),
      row.retryable ? "yes" : "no",
      row.description,
    ]);
    return [
      dom.element("h2", { id: "error-codes" }, "Error codes"),
      dom.element("p", {}, "In the ", dom.element("code", {}, "code"), " of an error reply, and of the failed rows and dead letters of a batch."),
      schema.table(["Code", "Status", "Try again", ""], rows),
    ];
  }

  function schemas(document) {
    return [
      dom.element("h2", { id: "schemas" }, "Schemas"),
      ...Object.entries(document.components.schemas)
        .filter(([name]) => name !== "ErrorCode")
        .map(([name, value]) =>
          dom.element(
            "article",
            { class: "card", id: `schema-${name}` },
            dom.element("h3", {}, name),
            value.description ? schema.prose(value.description) : null,
            schema.describe(value),
          ),
        ),
    ];
  }

  function contents(document) {
    const groups = document.tags.map(({ name: tag }) => [
      dom.element("h2", {}, tag),
      dom.element("ul", {}, operationsOf(document, tag).map(({ path, name, operation }) =>
        dom.element("li", {}, dom.element("a", { href: `#${operation.operationId}` }, method(name), dom.element("span", {}, path))),
      )),
    ]);
    const rest = [["error-codes", "Error codes"], ["schemas", "Schemas"]].map(([id, title]) =>
      dom.element("li", {}, dom.element("a", { href: `#${id}` }, title)),
    );
    return [...groups.flat(), dom.element("h2", {}, "Reference"), dom.element("ul", {}, rest)];
  }

  async function show() {
    const content = dom.byId("content");
    const reply = await fetch("openapi.json");
    if (!reply.ok) throw new Error(`openapi.json: ${reply.status}`);
    const document = await reply.json();
    dom.byId("contents").replaceChildren(...contents(document));
    content.replaceChildren(
      ...introduction(document).flat().filter(Boolean),
      ...document.tags.flatMap(({ name: tag, description }) => [
        dom.element("h2", {}, tag),
        dom.element("p", { class: "muted" }, description),
        ...operationsOf(document, tag).map(({ path, name, operation }) => section(document, path, name, operation)),
      ]),
      ...errorCodes(document),
      ...schemas(document),
    );
    content.removeAttribute("aria-busy");
    dom.byId(location.hash.slice(1))?.scrollIntoView();
  }

  show().catch(() => dom.byId("content").replaceChildren("The description cannot be read; reload the page."));
})();

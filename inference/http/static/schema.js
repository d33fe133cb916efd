"use strict";
// JSON schemas as a reader wants them: a type in a few words, an object as a table of its properties.

const schema = (() => {
  const nameOf = (reference) => reference.split("/").pop();

  // The codes have a table of their own, with more than a schema can say.
  const anchor = (name) => (name === "ErrorCode" ? "#error-codes" : `#schema-${name}`);

  const link = (reference) => dom.element("a", { href: anchor(nameOf(reference)) }, nameOf(reference));

  const joined = (parts, separate) => parts.flatMap((part, index) => (index ? [separate(), ...part] : part));

  /** The type in a few words and links. */
  function type(value) {
    if (value.$ref) return [link(value.$ref)];
    if (value.const !== undefined) return [dom.element("code", {}, JSON.stringify(value.const))];
    if (value.enum) return joined(value.enum.map((one) => [dom.element("code", {}, one)]), () => " ");
    const forms = value.oneOf ?? value.anyOf;
    if (forms && !value.properties) return joined(forms.map(type), () => " or ");
    if (value.allOf) return type(value.allOf[0]);
    if (value.type === "array") return arrayOf(value);
    const name = [value.type ?? (value.properties ? "object" : "anything")].flat().join(" or ");
    const content = value.contentSchema ? [" of ", ...type(value.contentSchema)] : [];
    return [[name, ...limits(value)].join(", "), ...content];
  }

  function arrayOf({ items, maxItems }) {
    const most = maxItems === undefined ? "" : `, at most ${maxItems}`;
    return ["array of ", ...(items ? type(items) : ["anything"]), most];
  }

  function limits(value) {
    const found = [];
    if (value.contentEncoding) found.push(value.contentEncoding);
    if (value.format) found.push(value.format);
    const { minimum, maximum } = value;
    if (minimum !== undefined && maximum !== undefined) found.push(`${minimum} … ${maximum}`);
    else if (minimum !== undefined) found.push(`≥ ${minimum}`);
    else if (maximum !== undefined) found.push(`≤ ${maximum}`);
    if (value.maxLength !== undefined) found.push(`at most ${value.maxLength} characters`);
    if (value.pattern) found.push(value.pattern);
    if (value.default !== undefined && value.default !== null) found.push(`default ${value.default}`);
    return found;
  }

  /** Text in which backquotes mark code and lines that begin with a dash are a list. */
  function prose(text) {
    const lines = text.split("\n").filter(Boolean);
    const items = lines.filter((line) => line.startsWith("- ")).map((line) => dom.element("li", {}, marked(line.slice(2))));
    return [
      ...lines.filter((line) => !line.startsWith("- ")).map((line) => dom.element("p", {}, marked(line))),
      items.length ? dom.element("ul", {}, items) : null,
    ];
  }

  const marked = (text) =>
    text.split("`").map((part, index) => (index % 2 ? dom.element("code", {}, part) : part));

  function table(head, rows) {
    const header = head.map((name) => dom.element("th", { scope: "col" }, name));
    const body = rows.map((cells) => dom.element("tr", {}, cells.map((cell) => dom.element("td", {}, cell))));
    return dom.element(
      "div",
      { class: "scroll" },
      dom.element("table", {}, dom.element("thead", {}, dom.element("tr", {}, header)), dom.element("tbody", {}, body)),
    );
  }

  /** The properties of an object, or those of each of its forms. */
  function describe(value) {
    const forms = (value.oneOf ?? []).filter((form) => form.properties);
    if (forms.length) return joined(forms.map((form) => [properties(form)]), () => dom.element("p", { class: "muted or" }, "or"));
    if (value.properties) return [properties(value)];
    const items = value.items?.properties ? [properties(value.items)] : [];
    return [dom.element("p", {}, type(value)), ...items];
  }

  function properties(value) {
    const rows = Object.entries(value.properties).map(([name, property]) => [
      dom.element("code", {}, name),
      [...type(property), value.required?.includes(name) ? dom.element("span", { class: "required" }, " required") : null],
      property.description ? marked(property.description) : "",
    ]);
    return table(["Property", "Type", ""], rows);
  }

  return { type, describe, prose, marked, table };
})();

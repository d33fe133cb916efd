"use strict";
// Builds elements. Strings only ever become text nodes, so that nothing a model or a manifest says can become markup.

const dom = (() => {
  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") node.addEventListener(name, value);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return node;
  }

  /** Make an HTML element; a function among the attributes listens to the event of that name. */
  const element = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

  /** Make an SVG element. */
  const shape = (name, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

  const byId = (id) => document.getElementById(id);

  /** Let screen readers say something that sighted users see anyway. */
  function announce(text) {
    byId("announcement").textContent = text;
  }

  /** A bar that is `share` (0 … 1) full; policies forbid style attributes, not the style object. */
  function bar(share, className = "") {
    const filled = element("span", { class: `bar-fill ${className}` });
    filled.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
    return element("span", { class: "bar", "aria-hidden": "true" }, filled);
  }

  /** Put `children` in the place of what is there; a button that has the focus is not taken from under a keyboard. */
  function replaceKeepingFocus(parent, children) {
    const focused = parent.contains(document.activeElement) ? document.activeElement.textContent : null;
    parent.replaceChildren(...children);
    if (focused !== null) {
      [...parent.querySelectorAll("button, a")].find((node) => node.textContent === focused)?.focus();
    }
  }

  const badge = (state) => element("span", { class: `badge ${state}` }, state);

  /** A folded part of the page. */
  const fold = (title, ...children) =>
    element("details", {}, element("summary", {}, title), ...children);

  /** Code with a button that copies it. */
  function copyable(text) {
    const button = element("button", { type: "button", class: "quiet copy", click: copy }, "Copy");
    async function copy() {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      announce("Copied");
    }
    // The clipboard is open to secure origins only; elsewhere the text can still be selected.
    const tools = navigator.clipboard ? button : null;
    return element("div", { class: "code" }, element("pre", { tabindex: 0 }, element("code", {}, text)), tools);
  }

  const definitions = (pairs) =>
    element(
      "dl",
      { class: "facts" },
      pairs.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))),
    );

  return { element, shape, byId, announce, replaceKeepingFocus, bar, badge, fold, copyable, definitions };
})();

"use strict";
// Asks before something is done that cannot be undone.

const confirmation = (() => {
  /** Show a question; resolve to whether the answer was yes. */
  function ask(title, text, yes) {
    const dialog = dom.byId("confirmation");
    const close = (answer) => () => dialog.close(answer);
    dialog.replaceChildren(
      dom.element("h2", { id: "confirmation-title" }, title),
      dom.element("p", {}, text),
      dom.element(
        "div",
        { class: "actions" },
        dom.element("button", { type: "button", class: "primary", click: close("yes") }, yes),
        dom.element("button", { type: "button", click: close("") }, "Keep as it is"),
      ),
    );
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    });
  }

  return { ask };
})();

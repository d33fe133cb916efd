"use strict";
// Talks to the API beside which this page is served. The key stays in this tab and leaves it in one header only.

const api = (() => {
  const base = new URL(".", location.href);
  const KEY = "functions-key";

  class ApiError extends Error {
    constructor(status, body, retryAfter) {
      super(body.error ?? `The service answered ${status}.`);
      Object.assign(this, { status, code: body.code ?? "", requestId: body.request_id ?? "", retryAfter });
    }
  }

  const key = () => sessionStorage.getItem(KEY) ?? "";

  function setKey(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  }

  /** Return the address of a route below the prefix; empty values of the query are left out. */
  function url(path, query = {}) {
    const address = new URL(path.replace(/^\//, ""), base);
    for (const [name, value] of Object.entries(query)) {
      if (value !== "" && value !== null && value !== undefined) address.searchParams.set(name, value);
    }
    return address;
  }

  /** Whatever stands between here and the service may answer in its place: with a page, or with half a reply. */
  function lost(sentence) {
    document.dispatchEvent(new CustomEvent("service-lost"));
    return new ApiError(0, { error: sentence });
  }

  /** Send a request and return its reply, whatever its status, or throw an ApiError. */
  async function ask(method, path, { query, body, type, signal } = {}) {
    const headers = {};
    if (key()) headers["x-functions-key"] = key();
    if (type) headers["content-type"] = type;
    try {
      return await fetch(url(path, query), { method, headers, body, signal, cache: "no-store", redirect: "error" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw lost("The service does not answer.");
    }
  }

  /** Send a request and return its reply, or throw an ApiError, also for a status that is one. */
  async function send(method, path, options) {
    const reply = await ask(method, path, options);
    if (!reply.ok) throw await failure(reply);
    return reply;
  }

  /** Return what a reply says in JSON, or throw an ApiError. */
  async function read(reply) {
    try {
      return await reply.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw lost("What answered is not the service, or its reply was cut off.");
    }
  }

  async function failure(reply) {
    const said = await reply.json().catch(() => null);
    const body = typeof said?.error === "string" ? said : {};
    if (reply.status === 401) {
      document.dispatchEvent(new CustomEvent("key-refused"));
      body.error ??= key() ? "The function key is not the right one." : "This service asks for a function key.";
    }
    return new ApiError(reply.status, body, reply.headers.get("retry-after"));
  }

  const get = async (path, query, signal) => read(await send("GET", path, { query, signal }));

  const post = async (path, value, signal) =>
    read(await send("POST", path, { body: JSON.stringify(value), type: "application/json", signal }));

  /** Save a reply as a file; a plain link could not carry the key's header. */
  async function download(path, query, name) {
    const reply = await send("GET", path, { query });
    const address = URL.createObjectURL(await reply.blob());
    dom.element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  /** Whether the same request may work in a moment: nobody answered, or the service is starting or has too much to do. */
  const isPassing = ({ status }) => status === 0 || status === 429 || status >= 500;

  /** Show why a view that looks again and again shows nothing; the same reason again is not said again. */
  function complain(place, error) {
    if (place.querySelector(".problem p")?.textContent !== error.message) place.replaceChildren(explain(error));
  }

  /** Show an error in a reader's words, with what an operator needs to find it in the log. */
  function explain(error) {
    const notes = [
      error.code,
      error.status ? `HTTP ${error.status}` : "",
      error.retryAfter ? `try again in ${error.retryAfter} s` : "",
      error.requestId ? `request ${error.requestId}` : "",
    ].filter(Boolean);
    return dom.element(
      "div",
      { class: "problem", role: "alert" },
      dom.element("p", {}, error.message),
      notes.length ? dom.element("p", { class: "notes" }, notes.join(" · ")) : null,
    );
  }

  return { ApiError, key, setKey, url, ask, send, read, get, post, download, explain, complain, isPassing };
})();

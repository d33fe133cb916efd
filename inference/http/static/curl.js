"use strict";
// Requests as curl commands for a POSIX shell. The key is a variable of the shell, never the key itself.

const curl = (() => {
  const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

  /** Return the command; `data` is the body as text, `file` the name of the file that is the body. */
  function command({ method = "GET", url, type, data, file, needsKey = true }) {
    const hasBody = data !== undefined || file !== undefined;
    const verb = method === (hasBody ? "POST" : "GET") ? "" : `-X ${method} `; // curl's own choice is left to it
    const parts = [`curl ${verb}${quote(String(url))}`];
    if (needsKey) parts.push('-H "x-functions-key: $FUNCTIONS_KEY"');
    if (type) parts.push(`-H ${quote(`content-type: ${type}`)}`);
    if (file !== undefined) parts.push(`--data-binary ${quote(`@${file}`)}`);
    if (data !== undefined) parts.push(`--data-binary ${quote(data)}`);
    return parts.join(" \\\n  ");
  }

  return { command };
})();

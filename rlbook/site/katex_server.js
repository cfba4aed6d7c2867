// Typesets formulas for rlbook.site.katex: one JSON request a line on stdin, one JSON answer a line on stdout.
//   request  {"tex": "x^2", "display": false}
//   answer   {"html": "<span ...", "complaints": []}  or  {"error": "what KaTeX says"}
"use strict";
const katex = require("katex");
const { compact } = require("./katex_light.js");
const lines = require("readline").createInterface({ input: process.stdin });

function answer(request) {
  const complaints = [];
  const strict = (code, message) => { complaints.push(`${message} [${code}]`); return "ignore"; };
  try {
    const html = katex.renderToString(request.tex, { displayMode: request.display, throwOnError: true, strict });
    return { html: compact(html), complaints };
  } catch (error) {
    return { error: error.message };
  }
}

lines.on("line", (line) => process.stdout.write(JSON.stringify(answer(JSON.parse(line))) + "\n"));

// Typesets formulas for rlbook.site.katex: one JSON request a line on stdin, one JSON answer a line on stdout.
//   request  {"tex": "x^2", "display": false}
//   answer   {"html": "<span ...", "complaints": []}  or  {"error": "what KaTeX says"}
"use strict";
const katex = require("katex");
const lines = require("readline").createInterface({ input: process.stdin });

// What a browser does without, about a tenth of a page: the TeX source that KaTeX repeats inside the MathML (no screen
// reader speaks it), its wrapper, namespaces that HTML implies, empty marks for line breaks, styles that are the default.
const IDLE = [
  /<annotation encoding="application\/x-tex">[\s\S]*?<\/annotation>/g, /<\/?semantics>/g, / xmlns="[^"]*"/g,
  /<mspace><\/mspace>/g, /<span class="mspace (?:no|allow)break"><\/span>/g, /margin-left:0em;/g, /;(?=">)/g,
];

// What occurs hundreds of times on a page gets a short name, whose meaning is in rlbook.css.
const SHORT = [
  [/<span class="pstrut" style="height:2.7em"><\/span>/g, '<span class="k-strut"></span>'],
  [/<span class="mspace" style="margin-right:0.1667em"><\/span>/g, '<span class="k-thin"></span>'],
  [/<span class="mspace" style="margin-right:0.2222em"><\/span>/g, '<span class="k-medium"></span>'],
  [/<span class="mspace" style="margin-right:0.2778em"><\/span>/g, '<span class="k-thick"></span>'],
  [/katex-sizing reset-size6 size3 mtight/g, "k-small"],
];

function compact(html) {
  const bare = IDLE.reduce((text, idle) => text.replace(idle, ""), html);
  return SHORT.reduce((text, [long, short]) => text.replace(long, short), bare);
}

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

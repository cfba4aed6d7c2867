// Rewrites KaTeX's HTML so that it weighs about a third and looks the same. The short names are explained in rlbook.css.
//
// KaTeX sets every script, fraction and limit as a table whose rows hang from struts, because it must know each height.
// The strut that opens a `katex-base` fixes the height of the whole, so inside it a script needs no table: it is text moved
// up or down (k-sub, k-sup), and what stands above or below something is a grid with a single cell (k-start, k-mid).
"use strict";

// ---------------------------------------------------------------------------------------------- text <-> tree
const TOKEN = /<(\/?)([A-Za-z]+)([^>]*?)(\/?)>|[^<]+/g;

// A node is a text or {tag, attrs, kids, empty}; a style is a Map from property to value.
function parse(html) {
  const root = { tag: "", attrs: {}, kids: [] };
  const open = [root];
  for (const [text, close, tag, attrs, empty] of html.matchAll(TOKEN)) {
    const into = open[open.length - 1].kids;
    if (!tag) into.push(text);
    else if (close) open.pop();
    else {
      const pairs = [...attrs.matchAll(/([\w:-]+)="([^"]*)"/g)].map(([, name, value]) => [name, value]);
      const node = { tag, attrs: Object.fromEntries(pairs), kids: [], empty: Boolean(empty) };
      into.push(node);
      if (!empty) open.push(node);
    }
  }
  return root.kids;
}

function write(node) {
  if (typeof node === "string") return node;
  const attrs = Object.entries(node.attrs).map(([name, value]) => ` ${name}="${value}"`).join("");
  return node.empty ? `<${node.tag}${attrs}/>` : `<${node.tag}${attrs}>${node.kids.map(write).join("")}</${node.tag}>`;
}

const classes = (node) => (node.attrs?.class || "").split(" ").filter(Boolean);
const is = (node, name) => classes(node).includes(name);
const styles = (node) => new Map((node.attrs?.style || "").split(";").filter(Boolean).map((item) => item.split(/:(.*)/, 2)));
const em = (value) => (value === undefined ? 0 : parseFloat(value));

function span(names, style, kids, tag = "span") {
  const attrs = {};
  const held = [...style].map(([name, value]) => `${name}:${String(value).replace(/(^|[-( ])0\./g, "$1.")}`);
  if (names.length) attrs.class = names.join(" ");
  if (held.length) attrs.style = held.join(";");
  return { tag, attrs, kids };
}

// ---------------------------------------------------------------------------------------------- HTML
// Classes that no style sheet speaks of (what is upright needs no class: nothing around it is slanted).
const IDLE = ["mord", "mop", "mbin", "mrel", "mopen", "mclose", "mpunct", "minner", "mtight", "text", "mathrm"];
// Elements whose children the style sheet places: these stay.
const FRAMES = [
  "katex-display", "katex-html", "vlist", "vlist-r", "vlist-t", "mfrac", "sqrt", "mtable", "katex-accent", "op-limits",
  "katex-inner", "clap", "llap", "rlap", "mult", "delim-size1", "delim-size4", "svg-align", "katex-stretchy", "k-mid", "k-start",
];
const SPACES = {
  "0.1667em": "k-thin", "0.2222em": "k-medium", "0.2778em": "k-thick", "-0.1667em": "k-back", "1em": "k-quad", "2em": "k-qquad",
};
// The gaps after slanted letters, in em, that have a class: k-i0278 and so on.
const SLANTS = [
  ".0077", ".0097", ".0139", ".0197", ".0278", ".0315", ".0359", ".0379", ".0528", ".0556", ".0576", ".0715", ".0778", ".0962",
  ".1076", ".109", ".1132", ".1389", ".2222",
];
const SIZES = [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.44, 1.728, 2.074, 2.488];
// The top and right margin that the class of a script gives it, in its own ems.
const USUAL = { "k-sub": [0.2143, 0.0714], "k-sub2": [0.2117, 0.1], "k-sup": [-0.59, 0.0714], "k-sup2": [-0.4004, 0.1] };
// The strut of a line without anything tall.
const STRUT = "height:1em;vertical-align:-0.25em";

// The ratio by which a span's classes change the font size, NaN if they do not.
function ratio(node) {
  if (is(node, "k-small")) return 0.7;
  if (is(node, "k-tiny")) return 5 / 7;
  const found = is(node, "katex-sizing") && /reset-size(\d+) size(\d+)/.exec(node.attrs.class);
  return found ? SIZES[found[2] - 1] / SIZES[found[1] - 1] : NaN;
}

// The rows of a vlist whose rows hang from struts: [{shift, style, scale, names, kids}], null if it is of another kind.
function rowsOf(table) {
  const cell = table && is(table, "vlist-t") && table.kids[0]?.kids[0];
  if (!cell || !cell.kids.length) return null;
  const rows = cell.kids.map((row) => {
    const [strut, content, ...more] = row.kids || [];
    const style = styles(row);
    const plain = [...style.keys()].every((name) => ["top", "margin-left", "margin-right"].includes(name));
    if (row.attrs?.class || !plain || !strut || !is(strut, "pstrut") || !content || more.length) return null;
    const scale = ratio(content);
    const shift = em(style.get("top")) + em(styles(strut).get("height"));
    style.delete("top");
    if (scale) return { shift, style, scale, names: sized(scale, content), kids: content.kids };
    return { shift, style, scale: 1, names: [], kids: [content] };
  });
  return rows.every(Boolean) ? rows : null;
}

const near = (a, b) => Math.abs(a - b) < 0.0002;
const spoken = (names) => names.filter((name) => !IDLE.includes(name));
const sized = (scale, node) => (near(scale, 0.7) ? ["k-small"] : near(scale, 5 / 7) ? ["k-tiny"] : spoken(classes(node)));
const ems = (value) => (Number(value.toFixed(4)) ? `${Number(value.toFixed(4))}em` : "0");

// A row's shift and margins in the ems of its own font, without those its class has.
function placed(row, top = 0, right = 0) {
  const style = new Map();
  const margin = (name) => em(row.style.get(name)) / row.scale;
  if (!near(row.shift / row.scale, top)) style.set("top", ems(row.shift / row.scale));
  if (!near(margin("margin-left"), 0)) style.set("margin-left", ems(margin("margin-left")));
  if (!near(margin("margin-right"), right)) style.set("margin-right", ems(margin("margin-right")));
  return style;
}

// Scripts: one is text out of line, two share a cell. What the subscript moves back by, its letter need not move on by.
function scripts(node, before) {
  const rows = rowsOf(node.kids[0]);
  if (!rows) return null;
  if (rows.length > 1) return span(["k-start"], [], rows.map((row) => span(row.names, placed(row), light(row.kids, []))));
  const [row] = rows;
  const letter = before && typeof before !== "string" ? styles(before) : new Map();
  const back = em(row.style.get("margin-left"));
  if (back < 0 && near(em(letter.get("margin-right")), -back)) {
    letter.delete("margin-right");
    row.style.delete("margin-left");
    Object.assign(before, span(classes(before), letter, before.kids, before.tag));
  }
  const name = (row.shift > 0 ? "k-sub" : "k-sup") + (near(row.scale, 0.7) ? "" : near(row.scale, 5 / 7) ? "2" : "0");
  const [top, right] = USUAL[name] || [NaN, 0];
  const names = USUAL[name] || row.scale === 1 ? [name] : [name, ...row.names];
  return span(names, placed(row, top, right), light(row.kids, []));
}

// Fractions, limits and accents: their rows, centred, in one cell.
function stack(node) {
  const rows = rowsOf(node.kids[0]);
  if (!rows || node.kids.length > 1) return null;
  return span(["k-mid"], styles(node), rows.map((row) => {
    const [only] = row.kids;
    const style = placed(row);
    if (is(only, "frac-line")) {
      const wide = styles(only).get("border-bottom-width");
      if (near(row.shift, -0.23)) style.delete("top");
      if (wide !== "0.04em") style.set("border-bottom-width", wide);
      return span(["k-line"], style, []);
    }
    if (!is(only, "accent-body")) return span(row.names, style, light(row.kids, []));
    for (const [name, value] of styles(only)) style.set(name, value);
    return span(is(only, "accent-full") ? [] : ["k-accent"], style, light(only.kids, []));
  }));
}

// What becomes of the children of an element of these classes; a span that no longer says anything gives way to its own.
function light(kids, frame) {
  const out = [];
  const fixed = frame.some((name) => FRAMES.includes(name));
  for (const node of kids) {
    const made = lightNode(node, out[out.length - 1], frame);
    if (!made) continue;
    const bare = made.tag === "span" && !Object.keys(made.attrs).length && !fixed;
    for (const one of bare ? made.kids : [made]) {
      if (typeof one === "string" && typeof out[out.length - 1] === "string") out[out.length - 1] += one;
      else out.push(one);
    }
  }
  return out;
}

function lightNode(node, before, frame) {
  if (node.tag !== "span") return node;
  const names = classes(node);
  const made = names.includes("msupsub") ? scripts(node, before)
    : ["mfrac", "op-limits", "katex-accent"].some((name) => names.includes(name)) ? stack(node) : null;
  if (made) return made;
  const style = styles(node);
  if (names.includes("mspace")) {
    const short = SPACES[style.get("margin-right")];
    if (names.includes("nobreak") || names.includes("allowbreak")) return null;
    return short && style.size === 1 && names.length === 1 ? span([short], [], []) : node;
  }
  if (names.includes("katex-strut") && node.attrs.style.replace(/;$/, "") === STRUT) return span(["k-strut"], [], []);
  for (const name of ["margin-left", "top"]) if (em(style.get(name)) === 0) style.delete(name);
  if (names.includes("op-symbol")) style.delete("position");                  // its class is as good
  let left = spoken(names);
  if (!style.has("top")) left = left.filter((name) => name !== "delimcenter");
  if (ratio(node)) left = sized(ratio(node), node);
  const slanted = left.length === 1 && left[0] === "mathnormal" && node.kids.every((kid) => typeof kid === "string");
  if (slanted) left = [];
  const within = frame.includes("vlist") ? ["vlist-r"] : left;           // a row of a vlist places its children, too
  return span(left, style, light(node.kids, within), slanted ? "i" : "span");
}

// The gap after a letter, once nothing takes it back, by the name of a class.
function nameGaps(node) {
  if (typeof node === "string") return node;
  const gap = /^margin-right:(\.\d+)em$/.exec(node.attrs.style || "");
  const attrs = gap && !node.attrs.class && SLANTS.includes(gap[1]) ? { class: `k-i${gap[1].slice(1)}` } : node.attrs;
  return { tag: node.tag, attrs, kids: node.kids.map(nameGaps) };
}

// ---------------------------------------------------------------------------------------------- MathML
const ROWS = ["math", "mtd", "mrow", "mstyle"];                          // what holds any number of elements
const FENCES = ["(", ")", "[", "]", "{", "}"];

function lightMath(kids, parent) {
  const out = [];
  for (const node of kids) {
    if (typeof node === "string") { out.push(node); continue; }
    if (node.tag === "annotation" || (node.tag === "mspace" && !Object.keys(node.attrs).length)) continue;
    if (node.tag === "semantics") { out.push(...lightMath(node.kids, parent)); continue; }
    const { xmlns, ...attrs } = node.attrs;
    const inner = lightMath(node.kids, node.tag);
    const last = out[out.length - 1];
    if (node.tag === "mo" && FENCES.includes(inner[0])) delete attrs.fence;     // which these are anyway
    const letters = node.tag === "mi" && attrs.mathvariant === "normal" && /^[A-Za-z]+$/.test(inner[0]);
    if (letters && last?.letters && ROWS.includes(parent)) {                    // r, e, f is one name, ref,
      last.kids = [last.kids[0] + inner[0]];
      last.attrs = {};                                                          // and a long name is upright anyway
    } else if (node.tag === "mrow" && !Object.keys(attrs).length && inner.length === 1) {
      out.push(...inner);
    } else out.push({ ...node, attrs, kids: inner, letters });
  }
  const [row] = out;                                                            // math and mtd are rows themselves
  const spare = ["math", "mtd"].includes(parent) && out.length === 1 && row.tag === "mrow" && !Object.keys(row.attrs).length;
  return spare ? row.kids : out;
}

// A formula's HTML, the MathML that screen readers speak and the spans that are seen, with less around it.
function compact(html) {
  const walk = (node) => {
    if (typeof node === "string") return node;
    if (is(node, "katex-mathml")) return { ...node, kids: lightMath(node.kids, "span") };
    if (is(node, "katex-html")) return { ...node, kids: light(node.kids, ["katex-html"]).map(nameGaps) };
    return { ...node, kids: node.kids.map(walk) };
  };
  return parse(html).map(walk).map(write).join("");
}

module.exports = { compact, IDLE, SLANTS, SPACES };

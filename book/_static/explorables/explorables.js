// Figures with sliders. An explorable is a list of sliders, perhaps choices [{name, label, options: [[value, label], ...]}] and
// buttons [{label, values: {slider: value, ...}}], and a function draw(formulas, values) that returns a scene;
// this file makes the controls, draws the scene as SVG and writes what it says. `rlExplorables.formulas.<name>` is printed from
// the checked expressions by rlbook/site/explorables.py. Without JavaScript the page shows the sentence inside the <div>.
//
//   scene = { x: {min, max, label, step}, y: {min, max, label},   step: distance of the ticks, chosen here if absent
//             shade: [{from, to}], shadeLabel,         stripes, and what the legend calls them
//             corners: [x, ...],                       where a curve may have a kink
//             curves: [{label, style, of, from, to}],  style: one, two, three; `of` a function of x
//             dots: [{label, style, points}],          points: [[x, y], ...]
//             bars: [{label, style, points, width}],   from 0 to y; width in units of x
//             here: [x, y],                            the point that the sliders choose
//             says: "text", table: {head, rows} }
"use strict";
window.rlExplorables = (function () {
  const SVG = "http://www.w3.org/2000/svg", formulas = {}, drawings = {};
  const MARGIN = { left: 44, right: 12, top: 12, bottom: 38 };

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    Object.entries(attributes || {}).forEach(([name, value]) => node.setAttribute(name, value));
    node.append(...children);
    return node;
  }

  function shape(tag, attributes, text) {
    const node = document.createElementNS(SVG, tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // A number as people write it: a true minus sign, no more digits than asked, no "-0".
  function number(value, digits = 2) {
    const text = value.toFixed(digits);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "\u2212");
  }

  // Round ticks of an axis, about `wanted` of them.
  function ticks({ min, max, step: given }, wanted) {
    const rough = (max - min) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = given || power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), out = [];
    for (let k = Math.ceil(min / step - 1e-9); k * step <= max + 1e-9 * step; k++)
      out.push({ at: k * step, text: number(k * step, digits) });
    return out;
  }

  // ---- the scene as SVG --------------------------------------------------------------------------
  function render(svg, scene, width) {
    const height = Math.round(Math.min(340, Math.max(230, width * 0.55)));
    const { left, right, top, bottom } = MARGIN, { x, y } = scene;
    const px = (value) => left + ((value - x.min) / (x.max - x.min)) * (width - left - right);
    const py = (value) => height - bottom - ((value - y.min) / (y.max - y.min)) * (height - top - bottom);
    const inside = (value) => Math.min(y.max, Math.max(y.min, value));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    svg.replaceChildren();
    const put = (tag, attributes, text) => svg.append(shape(tag, attributes, text));

    (scene.shade || []).forEach(({ from, to }) => put("rect", {
      class: "rl-x-shade", x: px(from), y: top, width: Math.max(0, px(to) - px(from)), height: height - top - bottom,
    }));
    ticks(x, width < 420 ? 4 : 8).forEach(({ at, text }) => {
      put("line", { class: "rl-x-grid", x1: px(at), x2: px(at), y1: top, y2: height - bottom });
      put("text", { x: px(at), y: height - bottom + 15, "text-anchor": "middle" }, text);
    });
    ticks(y, 5).forEach(({ at, text }) => {
      put("line", { class: "rl-x-grid", x1: left, x2: width - right, y1: py(at), y2: py(at) });
      put("text", { x: left - 6, y: py(at) + 4, "text-anchor": "end" }, text);
    });
    if (y.min <= 0 && y.max >= 0)
      put("line", { class: "rl-x-axis", x1: left, x2: width - right, y1: py(0), y2: py(0) });
    put("text", { class: "rl-x-label", x: width - right, y: height - 6, "text-anchor": "end" }, x.label);

    (scene.curves || []).forEach(({ style, of, from = x.min, to = x.max }) => {
      // `corners` of the scene are points of every curve, so a kink is drawn sharp.
      const at = Array.from({ length: 241 }, (_, k) => from + ((to - from) * k) / 240).concat(scene.corners || []);
      const points = at.filter((value) => value >= from && value <= to).sort((a, b) => a - b).map((value) => [value, of(value)]);
      const runs = [[]];                               // a curve leaves the frame and comes back: one piece each time
      points.forEach(([a, b]) => {
        if (b >= y.min && b <= y.max) runs[runs.length - 1].push(`${px(a).toFixed(1)},${py(b).toFixed(1)}`);
        else if (runs[runs.length - 1].length) runs.push([]);
      });
      runs.filter((run) => run.length > 1).forEach((run) => {
        put("polyline", { class: `rl-x-curve rl-x-${style}`, points: run.join(" ") });
      });
    });
    (scene.bars || []).forEach(({ style, points, width: wide }) => points.forEach(([a, b]) => {
      const [low, high] = [inside(Math.min(0, b)), inside(Math.max(0, b))];
      put("rect", { class: `rl-x-bar rl-x-${style}`, x: px(a - wide / 2), y: py(high),
        width: px(a + wide / 2) - px(a - wide / 2), height: py(low) - py(high) });
    }));
    (scene.dots || []).forEach(({ style, points }) => points.forEach(([a, b]) => {
      put("line", { class: `rl-x-curve rl-x-stem rl-x-${style}`, x1: px(a), x2: px(a), y1: py(inside(0)), y2: py(inside(b)) });
      put("circle", { class: `rl-x-dot rl-x-${style}`, cx: px(a), cy: py(inside(b)), r: 3.2 });
    }));
    if (scene.here) put("circle", { class: "rl-x-here", cx: px(scene.here[0]), cy: py(inside(scene.here[1])), r: 6 });
  }

  function swatch(style, kind) {
    const svg = shape("svg", { class: "rl-x-swatch", viewBox: "0 0 28 12", width: 28, height: 12, "aria-hidden": "true" });
    if (kind === "shade") svg.append(shape("rect", { class: "rl-x-shade", x: 1, y: 1, width: 26, height: 10 }));
    else if (kind === "bars") svg.append(shape("rect", { class: `rl-x-bar rl-x-${style}`, x: 8, y: 1, width: 12, height: 10 }));
    else if (kind === "dots") svg.append(shape("circle", { class: `rl-x-dot rl-x-${style}`, cx: 14, cy: 6, r: 3.2 }));
    else svg.append(shape("line", { class: `rl-x-curve rl-x-${style}`, x1: 0, x2: 28, y1: 6, y2: 6 }));
    return svg;
  }

  function legend(scene) {
    const entry = (label, ...how) => make("li", {}, swatch(...how), " ", label);
    return [
      ...(scene.curves || []).map(({ label, style }) => entry(label, style, "line")),
      ...(scene.bars || []).map(({ label, style }) => entry(label, style, "bars")),
      ...(scene.dots || []).map(({ label, style }) => entry(label, style, "dots")),
      ...(scene.shadeLabel ? [entry(scene.shadeLabel, "", "shade")] : []),
    ];
  }

  function tabulate(table) {
    const row = (cells, tag) => make("tr", {}, ...cells.map((text, k) => make(k ? tag : "th", k ? {} : { scope: "row" }, text)));
    const head = make("tr", {}, ...table.head.map((text) => make("th", { scope: "col" }, text)));
    return make("table", {}, make("thead", {}, head), make("tbody", {}, ...table.rows.map((cells) => row(cells, "td"))));
  }

  // ---- one figure --------------------------------------------------------------------------------
  function mount(host, index) {
    const name = host.dataset.explorable, drawing = drawings[name], values = {};
    if (!drawing || !formulas[name]) return;           // the sentence inside stays
    const controls = make("div", { class: "rl-x-controls" }), set = {}, above = [];
    if (drawing.pairs) controls.classList.add("rl-x-pairs");         // two short sliders in a row
    const svg = shape("svg", { class: "rl-x-plot", role: "img", width: "100%" });
    const plot = make("div", {}, svg), key = make("ul", { class: "rl-x-legend" });
    const says = make("p", { class: "rl-x-says", role: "status" }), more = make("div", { class: "rl-x-more" });

    function draw() {
      const scene = drawing.draw(formulas[name], values);
      render(svg, scene, Math.max(240, Math.round(plot.clientWidth)));
      svg.setAttribute("aria-label", `${drawing.title}. ${scene.says}`);
      key.replaceChildren(...legend(scene));
      says.textContent = scene.says;
      more.replaceChildren(...(scene.table ? [tabulate(scene.table)] : []));
    }

    drawing.sliders.forEach(({ name: slider, label, min, max, step, value, digits = 2 }) => {
      const id = `rl-x-${name}-${index}-${slider}`, input = make("input", { id, type: "range", min, max, step });
      const output = make("output", { for: id });
      input.value = value;
      const read = () => {
        values[slider] = Number(input.value);
        output.textContent = number(values[slider], digits);
      };
      read();
      input.addEventListener("input", () => { read(); draw(); });
      set[slider] = (to) => { input.value = to; read(); };
      controls.append(make("label", { for: id }, label), input, output);
    });

    (drawing.choices || []).forEach(({ name: choice, label, options }) => {
      const field = make("fieldset", { class: "rl-x-choices" }, make("legend", {}, label));
      values[choice] = options[0][0];
      options.forEach(([value, text]) => {
        const input = make("input", { type: "radio", name: `rl-x-${name}-${index}-${choice}`, value });
        input.checked = value === values[choice];
        input.addEventListener("change", () => { values[choice] = value; draw(); });
        field.append(make("label", {}, input, " ", text));
      });
      above.push(field);
    });
    if (drawing.buttons) {
      above.push(make("div", { class: "rl-x-buttons" }, ...drawing.buttons.map(({ label, values: wanted }) => {
        const button = make("button", { type: "button" }, label);
        button.addEventListener("click", () => { Object.entries(wanted).forEach(([slider, to]) => set[slider](to)); draw(); });
        return button;
      })));
    }

    const caption = make("figcaption", { id: `rl-x-${name}-${index}` }, drawing.title);
    host.replaceChildren(make("figure", { "aria-labelledby": caption.id }, caption, ...above, controls, plot, key, says, more));
    host.dataset.ready = "true";
    let width = 0;
    new ResizeObserver(() => {
      if (plot.clientWidth !== width) { width = plot.clientWidth; draw(); }
    }).observe(plot);
    draw();
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-explorable]").forEach(mount));
  return { formulas, number, add: (name, drawing) => { drawings[name] = drawing; } };
})();

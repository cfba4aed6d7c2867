// The clipped surrogate of one sample as a function of the ratio.
"use strict";
rlExplorables.add("clip", {
  title: "The clipped surrogate of one sample",
  sliders: [
    { name: "epsilon", label: "clip range ε", min: 0, max: 0.5, step: 0.01, value: 0.2 },
    { name: "advantage", label: "advantage A", min: -2, max: 2, step: 0.1, value: 1, digits: 1 },
    { name: "ratio", label: "ratio r", min: 0, max: 2, step: 0.01, value: 1.35 },
  ],
  draw(f, { epsilon, advantage, ratio }) {
    const number = rlExplorables.number, near = (a, b) => Math.abs(a - b) < 1e-9;
    const edges = [0, f.low(epsilon), f.high(epsilon), 2], size = Math.max(2, 2 * Math.abs(advantage));
    const slope = (r) => f.slope(epsilon, advantage, r);
    const flat = edges.slice(1).map((to, k) => ({ from: edges[k], to }))
      .filter(({ from, to }) => to > from && advantage !== 0 && slope((from + to) / 2) === 0);
    const value = f.clipped(epsilon, advantage, ratio), sides = [slope(ratio - 1e-6), slope(ratio + 1e-6)];
    const kink = edges.slice(1, 3).some((edge) => near(edge, ratio)) && sides[0] !== sides[1];

    let why;
    if (advantage === 0) why = "derivative: 0 — the advantage is 0";
    else if (kink) why = `no derivative: ${number(sides[0], 1)} on the left, ${number(sides[1], 1)} on the right`;
    else if (slope(ratio) === 0) why = "derivative: 0 — the clip has removed the gradient";
    else if (ratio < edges[1] || ratio > edges[2])
      why = `derivative: ${number(slope(ratio), 1)} — the ratio moved the wrong way, so the gradient that brings it back stays`;
    else why = `derivative: ${number(slope(ratio), 1)} — the clip does nothing here`;
    return {
      x: { min: 0, max: 2, label: "ratio r" },
      y: advantage < 0 ? { min: -1.05 * size, max: 0.15 * size } : { min: -0.15 * size, max: 1.05 * size },
      corners: edges.slice(1, 3),
      shade: flat,
      shadeLabel: "derivative 0",
      curves: [
        { label: "r A, without the clip", style: "two", of: (r) => f.unclipped(epsilon, advantage, r) },
        { label: "min(r A, clip(r, 1 − ε, 1 + ε) A)", style: "one", of: (r) => f.clipped(epsilon, advantage, r) },
      ],
      here: [ratio, value],
      says: `value: ${number(value)}, ${why}.`,
    };
  },
});

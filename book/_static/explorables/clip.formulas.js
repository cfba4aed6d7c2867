// Printed by `python -m rlbook.site.explorables` from the expressions that the book checks; do not edit.
"use strict";
rlExplorables.formulas.clip = {
  clipped: (epsilon, advantage, ratio) =>
    Math.min(advantage*ratio, advantage*Math.max(1 - epsilon, Math.min(ratio, epsilon + 1))),
  unclipped: (epsilon, advantage, ratio) =>
    advantage*ratio,
  slope: (epsilon, advantage, ratio) =>
    advantage*((0 < advantage ? 1 : 0)*(ratio < epsilon + 1 ? 1 : 0) + (advantage < 0 ? 1 : 0)*(1 - epsilon < ratio ? 1 : 0)),
  low: (epsilon) =>
    1 - epsilon,
  high: (epsilon) =>
    epsilon + 1,
};

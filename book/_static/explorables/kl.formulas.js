// Printed by `python -m rlbook.site.explorables` from the expressions that the book checks; do not edit.
"use strict";
rlExplorables.formulas.kl = {
  k1: (l) =>
    l,
  k2: (l) =>
    (1/2)*Math.pow(l, 2),
  k3: (l) =>
    l - 1 + Math.exp(-l),
  k1_mean: (mu) =>
    (1/2)*Math.pow(mu, 2),
  k2_mean: (mu) =>
    (1/8)*Math.pow(mu, 4) + (1/2)*Math.pow(mu, 2),
  k3_mean: (mu) =>
    (1/2)*Math.pow(mu, 2),
  k1_deviation: (mu) =>
    mu,
  k2_deviation: (mu) =>
    (1/2)*Math.pow(mu, 2)*Math.sqrt(Math.pow(mu, 2) + 2),
  k3_deviation: (mu) =>
    Math.sqrt(-Math.pow(mu, 2) + Math.exp(Math.pow(mu, 2)) - 1),
};

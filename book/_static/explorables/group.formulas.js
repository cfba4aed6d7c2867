// Printed by `python -m rlbook.site.explorables` from the expressions that the book checks; do not edit.
"use strict";
rlExplorables.formulas.group = {
  mean: (r1, r2, r3, r4, r5, r6, r7, r8) =>
    (1/8)*r1 + (1/8)*r2 + (1/8)*r3 + (1/8)*r4 + (1/8)*r5 + (1/8)*r6 + (1/8)*r7 + (1/8)*r8,
  std: (r1, r2, r3, r4, r5, r6, r7, r8, mean) =>
    (1/4)*Math.sqrt(2)*Math.sqrt(Math.pow(-mean + r1, 2) + Math.pow(-mean + r2, 2) + Math.pow(-mean + r3, 2) + Math.pow(-mean + r4, 2) + Math.pow(-mean + r5, 2) + Math.pow(-mean + r6, 2) + Math.pow(-mean + r7, 2) + Math.pow(-mean + r8, 2)),
  group: (reward, mean, std) =>
    (-mean + reward)/std,
  none: (reward, mean, std) =>
    -mean + reward,
  rloo: (reward, mean, std) =>
    -8/7*mean + (8/7)*reward,
};

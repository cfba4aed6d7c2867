// Schulman's three estimators of KL(π‖π_ref): what each makes of a sample, and how good it is for two normal distributions.
"use strict";
rlExplorables.add("kl", {
  title: "Three estimators of the KL divergence of N(0, 1) from N(μ, 1)",
  sliders: [{ name: "mu", label: "distance μ", min: 0.1, max: 2, step: 0.05, value: 0.5 }],
  draw(f, { mu }) {
    const number = rlExplorables.number, names = ["k1", "k2", "k3"];
    const x = { min: -3, max: 4, label: "log π/π_ref of the sample" };
    const truth = f.k1_mean(mu), spread = 2 * f.k1_deviation(mu);              // k1 is the log-ratio itself
    const noisier = f.k3_deviation(mu) > f.k1_deviation(mu);
    return {
      x,
      y: { min: -3.2, max: 6 },
      shade: [{ from: Math.max(x.min, truth - spread), to: Math.min(x.max, truth + spread) }],
      shadeLabel: "95% of the samples of π",
      curves: names.map((label, k) => ({ label, style: ["one", "two", "three"][k], of: f[label] })),
      says: `KL: ${number(truth, 3)}. ${noisier ? "k3 is noisier than k1 here." : "k3 is less noisy than k1 here."}`,
      table: {
        head: ["estimator", "bias / KL", "standard deviation / KL"],
        rows: names.map((k) => [k, number((f[`${k}_mean`](mu) - truth) / truth, 4), number(f[`${k}_deviation`](mu) / truth)]),
      },
    };
  },
});

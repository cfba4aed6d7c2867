// What generalized advantage estimation multiplies each reward and each value by.
"use strict";
rlExplorables.add("gae", {
  title: "The weights of rewards and values in the advantage estimate",
  sliders: [
    { name: "lambda", label: "λ", min: 0, max: 1, step: 0.01, value: 0.95 },
    { name: "gamma", label: "discount γ", min: 0.8, max: 1, step: 0.01, value: 0.99 },
  ],
  draw(f, { lambda, gamma }) {
    const number = rlExplorables.number, rewards = f.rewards(gamma, lambda), values = f.values(gamma, lambda);
    const all = rewards.reduce((a, b) => a + b, 0), last = rewards.length;
    let half = 0;
    for (let sum = 0; sum < all / 2 && half < last; half++) sum += rewards[half];
    return {
      x: { min: -0.5, max: last + 0.5, label: "steps l after t" },
      y: { min: -1.1, max: 1.1 },
      dots: [
        { label: "weight of the reward at t + l", style: "one", points: rewards.map((w, l) => [l, w]) },
        { label: "weight of V at t + l", style: "three", points: values.map((w, l) => [l + 0.25, w]) },
      ],
      says: `With ${last} rewards, the first ${half} ${half === 1 ? "carries" : "carry"} half of their weight; `
        + `the value at the end has the weight ${number(values[last], 3)}.`,
    };
  },
});

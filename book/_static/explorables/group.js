// What a group of eight rewards is turned into: divided by the standard deviation, the mean alone, leave one out.
"use strict";
rlExplorables.add("group", {
  title: "The advantages of eight completions of one prompt",
  choices: [{
    name: "kind", label: "advantage:",
    options: [["group", "divide by std"], ["none", "mean only"], ["rloo", "leave one out (RLOO)"]],
  }],
  buttons: [["none right", 0], ["one right", 1], ["half right", 4], ["all right", 8]].map(([label, right]) => ({
    label, values: Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`r${i + 1}`, i < right ? 1 : 0])),
  })),
  sliders: Array.from({ length: 8 }, (_, i) => ({
    name: `r${i + 1}`, label: `r${"₁₂₃₄₅₆₇₈"[i]}`, min: 0, max: 1, step: 0.25, value: i < 2 ? 1 : 0,
  })),
  pairs: true,
  draw(f, { kind, ...values }) {
    const number = rlExplorables.number, rewards = Object.values(values), size = rewards.length;
    const mean = f.mean(...rewards), std = f.std(...rewards, mean);
    const advantage = { group: f.group, none: f.none, rloo: f.rloo }[kind];
    const all = rewards.map((r) => (std === 0 ? 0 : advantage(r, mean, std)));       // a constant group: 0 by convention
    const why = {
      group: "their squares have the mean 1, however close the rewards are",
      none: "the closer the rewards, the smaller they are",
      rloo: `each reward is compared with the mean of the other ${size - 1}: ${size}/${size - 1} of “mean only”`,
    }[kind];
    return {
      x: { min: 0.4, max: size + 0.6, label: "completion i", step: 1 },
      y: { min: -2.8, max: 2.8 },
      curves: [{ label: "mean reward", style: "two", of: () => mean }],
      bars: [{ label: "advantage", style: "one", width: 0.4, points: all.map((a, i) => [i + 0.9, a]) }],
      dots: [{ label: "reward", style: "three", points: rewards.map((r, i) => [i + 1.25, r]) }],
      says: `Mean ${number(mean)}, std ${number(std)}. ` + (std === 0
        ? "All rewards are equal: every advantage is 0, and nothing is learnt from this group."
        : `Advantages from ${number(Math.min(...all))} to ${number(Math.max(...all))}; ${why}.`),
    };
  },
});

// How fast each run went, and of the positions it computed, how many any method must.

function speed() {
  const rates = STEPS.map((step) => step.samples_per_second);
  if (rates.every((rate) => rate === null)) {
    byId("speed").remove();
    return;
  }
  const { box, refresh } = figure(
    "speed",
    "Throughput",
    "Scored samples a second of computing, by run.",
    { table: () => ({
      head: ["", "samples a second", "seconds", "token positions computed", "least any method must compute"],
      rows: STEPS.map((step) => [step.label, number(step.samples_per_second, 1), number(step.seconds, 1), count(step.tokens_computed), count(step.tokens_minimal)]),
    }) },
  );
  const redraw = drawIn(box, (width) => {
    const height = 240;
    const frame = { left: 48, right: width - 12, top: 12, bottom: height - 46 };
    const high = Math.max(...rates.filter((rate) => rate !== null)) * 1.08;
    const each = (frame.right - frame.left) / STEPS.length;
    const x = (index) => frame.left + (index + 0.5) * each;
    const y = (value) => frame.bottom - (value / high) * (frame.bottom - frame.top);
    const bar = (index, name) => rates[index] !== null && s(
      "rect",
      { class: name, x: x(index) - each * 0.36, y: y(rates[index]), width: each * 0.72, height: frame.bottom - y(rates[index]) },
      s("title", {}, `${STEPS[index].label}: ${number(rates[index], 1)} samples a second`),
    );
    const svg = s(
      "svg",
      { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Samples a second: ${STEPS.map((step) => `${step.label} ${number(step.samples_per_second, 1)}`).join(", ")}.` },
      axes({ ...frame, x, y, ticks: ticksOf(0, high, 4), format: (tick) => count(tick) }),
      rates.map((_, index) => bar(index, "rate")),
      moving(() => bar(view.step, "rate now")),
    );
    return picksSteps(svg, x);
  });
  watch(() => {
    redraw();
    refresh();
  }, () => moveIn(box));
}

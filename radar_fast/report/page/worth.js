// What the image is worth: the score with it less that without, where runs without it are there.

function worth() {
  if (!DATA.image_worth?.length) {
    byId("worth").remove();
    byId("speed").classList.add("wide");
    return;
  }
  const { box, refresh } = figure(
    "worth",
    "What the image is worth",
    "SDS with the picture less SDS without it, over the samples scored in both: at 0 a checkpoint answers from the "
      + "text alone.",
    { table: worthTable },
  );
  const redraw = drawIn(box, (width) => differenceChart(width, DATA.image_worth));
  watch(() => {
    redraw();
    refresh();
  });
}

function differenceChart(width, list) {
  const height = Math.max(240, Math.min(340, width * 0.6));
  const frame = { left: 48, right: width - 12, top: 12, bottom: height - 46 };
  const [low, high] = spannedAround(list.flatMap((entry) => [...entry.value, ...entry.low, ...entry.high]).filter((value) => value !== null));
  const x = (index) => frame.left + 8 + AXIS.at(index) * (frame.right - frame.left - 16);
  const y = (value) => frame.bottom - ((value - low) / (high - low)) * (frame.bottom - frame.top);
  const looks = list.map((entry, index) => (entry.kind === "overall" ? { colour: "var(--text)", dash: "", shape: SHAPES[0], main: true } : look(index)));
  const svg = s(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `At ${STEPS[view.step].label}: ${list.map((entry) => `${entry.name} ${signed(entry.value[view.step])}`).join(", ")}.` },
    axes({ ...frame, x, y, ticks: ticksOf(low, high), format: (tick) => signed(tick, 2) }),
    s("line", { class: "chance", x1: frame.left, x2: frame.right, y1: y(0), y2: y(0), stroke: "var(--soft)" }),
    list.map((entry, index) => [band(entry, looks[index], x, y), curve(entry, looks[index], x, y)]).flat(),
    list.map((entry, index) => here(entry, looks[index], x, y)),
  );
  const legend = h("div", { class: "legend still" }, list.map((entry, index) => h("span", {},
    s("svg", { viewBox: "0 0 28 12", "aria-hidden": "true" }, s("path", { d: "M0 6H28", stroke: looks[index].colour, "stroke-dasharray": looks[index].dash, "stroke-width": 2.5 }), marker(looks[index], 14, 6, 3.2)),
    entry.name, h("b", {}, signed(entry.value[view.step])))));
  return h("div", {}, picksSteps(svg, x), legend);
}

function spannedAround(values) {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const room = Math.max(0.02, (high - low) * 0.06);
  return [low - room, high + room];
}

function worthTable() {
  return {
    head: ["", ...STEPS.map((step) => step.label)],
    rows: DATA.image_worth.map((entry) => [entry.name, ...entry.value.map((value, index) => `${signed(value, 4)} (${interval(entry.low[index], entry.high[index], 4)})`)]),
  };
}

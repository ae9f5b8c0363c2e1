// When each ability set in, in that order.

function onset() {
  const kinds = LEVELS.filter((kind) => entries(kind).some((entry) => entry.onset));
  if (!kinds.length || STEPS.length < 2) {
    byId("onset").remove();
    return;
  }
  let level = kinds.includes("directory") ? "directory" : kinds[0];
  const tools = kinds.length > 1 ? [choice("Rows", kinds.map((kind) => [kind, KINDS[kind]]), level, (value) => ((level = value), change()))] : [];
  const { box, refresh } = figure(
    "onset",
    "What sets in when",
    "\u25CF from here on the interval stays above chance; \u25C7 from here on it stays above the first checkpoint. "
      + "Rows are in the order in which they set in.",
    { tools, table: () => onsetTable(ordered(level)) },
  );
  const redraw = drawIn(box, (width) => timeline(width, ordered(level)));
  function change() {
    redraw();
    refresh();
  }
  watch(change, () => moveIn(box));
}

function ordered(level) {
  const late = (value) => value ?? STEPS.length;
  const final = (entry) => entry.measures.sds.value[STEPS.length - 1] ?? -1;
  return entries(level).toSorted(
    (one, other) =>
      late(one.onset?.chance) - late(other.onset?.chance) || late(one.onset?.first) - late(other.onset?.first) || final(other) - final(one),
  );
}

function timeline(width, list) {
  const names = Math.min(width * 0.42, 16 + Math.max(...list.map((entry) => textWidth(entry.short, 12))));
  const tall = list.length > 30 ? 18 : 26;
  const frame = { left: names, right: width - 12, top: 8, bottom: 8 + list.length * tall };
  const height = frame.bottom + 44;
  const x = (index) => frame.left + 10 + AXIS.at(index) * (frame.right - frame.left - 20);
  const svg = s(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Order of onset: ${list.map(onsetText).join("; ")}.` },
    axes({ ...frame, x, y: () => 0, ticks: [], format: String }),
    list.map((entry, row) => {
      const y = frame.top + (row + 0.5) * tall;
      const { chance, first } = entry.onset ?? {};
      const set = chance !== null && chance !== undefined;
      const risen = first !== null && first !== undefined;
      return s(
        "g",
        { class: set ? "row" : "row not-yet" },
        s("title", {}, onsetText(entry)),
        s("text", { x: frame.left - 8, y: y + 4, "text-anchor": "end" }, fitted(entry.short, names - 12)),
        s("line", { class: "track", x1: frame.left + 10, x2: frame.right - 10, y1: y, y2: y }),
        set && s("line", { class: "since", x1: x(chance), x2: frame.right - 10, y1: y, y2: y }),
        risen && s("path", { class: "risen", d: SHAPES[3](5), transform: `translate(${x(first)} ${y})` }),
        set && s("circle", { class: "onset", cx: x(chance), cy: y, r: 4.5 }),
        !set && s("text", { class: "never", x: frame.right - 10, y: y - 4, "text-anchor": "end" }, "not yet above chance"),
      );
    }),
  );
  return picksSteps(svg, x);
}

function onsetText(entry) {
  const at = (index) => (index === null || index === undefined ? "not yet" : `from ${STEPS[index].label}`);
  return `${entry.name}: above chance ${at(entry.onset?.chance)}, above the first checkpoint ${at(entry.onset?.first)}`;
}

function onsetTable(list) {
  const at = (index) => (index === null || index === undefined ? "not yet" : STEPS[index].label);
  return {
    head: ["", "above chance from", "above the first checkpoint from", "rank correlation with step", "signal to noise"],
    rows: list.map((entry) => [entry.name, at(entry.onset?.chance), at(entry.onset?.first), number(entry.trend, 2), number(entry.signal_to_noise, 1)]),
  };
}

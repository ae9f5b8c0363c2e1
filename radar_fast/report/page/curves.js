// How each ability grew: lines with their intervals, and the chance line.

const MOST_COLOURED = 8;

function curves() {
  let level = LEVELS[0] ?? "overall";
  let measure = "sds";
  const lit = new Set();
  const names = { sds: "SDS", accuracy: "Accuracy" };
  const tools = [choice("Measure", Object.entries(names), measure, (value) => ((measure = value), change()))];
  if (LEVELS.length > 1) {
    tools.unshift(choice("Lines", LEVELS.map((kind) => [kind, KINDS[kind]]), level, (value) => ((level = value), lit.clear(), change())));
  }
  const { section, box, refresh } = figure(
    "curves",
    "Abilities over training",
    "Each line is the mean over its samples, its band the 95% interval; the dotted line is what guessing gives. Click "
      + "into the chart to show another step; names switch their line on and off.",
    { tools, table: () => curveTable(shownEntries(level), measure) },
  );
  const legend = h("div", { class: "legend" });
  box.after(legend);
  const redraw = drawIn(box, (width) => curveChart(width, shownEntries(level), measure, lit, names[measure]));
  function change() {
    legend.replaceChildren(...legendOf(shownEntries(level), lit, measure, change));
    redraw();
    refresh();
  }
  function move() {
    const list = shownEntries(level);
    legend.querySelectorAll("b").forEach((said, index) => (said.textContent = number(list[index].measures[measure].value[view.step])));
    moveIn(box);
    box.firstElementChild?.setAttribute("aria-label", curvesSaid(list, looksOf(list, lit), measure, names[measure]));
  }
  watch(change, move);
  section.classList.add("curves");
}

function shownEntries(level) {
  return level === "overall" ? entries("overall") : [...entries("overall"), ...entries(level)];
}

/** Overall first, in the text's colour; then eight hues; of more lines those that are switched on have them. */
function looksOf(list, lit) {
  const many = list.length - 1 > MOST_COLOURED;
  let next = 0;
  return list.map((entry) => {
    if (entry.kind === "overall") return { colour: "var(--text)", dash: "", shape: SHAPES[0], main: true, on: !lit.has(entry.name) };
    const on = many ? lit.has(entry.name) : !lit.has(entry.name);
    const appearance = many && !on ? { colour: "var(--faint)", dash: "", shape: SHAPES[0], grey: true } : look(next);
    if (!many || on) next += 1;
    return { ...appearance, on };
  });
}

function legendOf(list, lit, measure, change) {
  const looks = looksOf(list, lit);
  return list.map((entry, index) => {
    const appearance = looks[index];
    const swatch = s(
      "svg",
      { viewBox: "0 0 28 12", "aria-hidden": "true" },
      s("path", { d: "M0 6H28", stroke: appearance.colour, "stroke-dasharray": appearance.dash, "stroke-width": 2.5 }),
      marker(appearance, 14, 6, 3.2),
    );
    const button = h(
      "button",
      {
        type: "button",
        "aria-pressed": String(appearance.on),
        title: entry.name,
        onclick: () => {
          if (lit.has(entry.name)) lit.delete(entry.name);
          else lit.add(entry.name);
          change();
          byId("curves").querySelectorAll(".legend button")[index]?.focus();
        },
      },
      swatch,
      h("span", {}, entry.short),
      h("b", {}, number(entry.measures[measure].value[view.step])),
    );
    return button;
  });
}

function curveChart(width, list, measure, lit, title) {
  const looks = looksOf(list, lit);
  const shownOnes = list.map((entry, index) => ({ entry, appearance: looks[index] })).filter(({ appearance }) => appearance.on || appearance.grey);
  const named = width > 620 ? shownOnes.filter(({ appearance }) => appearance.on) : [];
  const names = named.map(({ entry }) => `${clipped(entry.short, 30)} ${number(last(entry.measures[measure].value), 2)}`);
  const margin = Math.min(width * 0.3, Math.max(12, ...names.map((name) => textWidth(name, 13) + 22)));
  const height = Math.max(260, Math.min(420, width * 0.45));
  const frame = { left: 44, right: width - margin, top: 12, bottom: height - 46 };
  const lows = shownOnes.flatMap(({ entry, appearance }) => (appearance.on ? entry.measures[measure].low : entry.measures[measure].value)).filter((value) => value !== null);
  const highs = shownOnes.flatMap(({ entry, appearance }) => (appearance.on ? entry.measures[measure].high : entry.measures[measure].value)).filter((value) => value !== null);
  const values = shownOnes.flatMap(({ entry }) => entry.measures[measure].value).filter((value) => value !== null);
  const chances = shownOnes.map(({ entry }) => entry.chance).filter((value) => value !== null);
  const [low, high] = spanned([...lows, ...highs, ...values, ...chances]);
  const x = (index) => frame.left + 8 + AXIS.at(index) * (frame.right - frame.left - 16);
  const y = (value) => frame.bottom - ((value - low) / (high - low)) * (frame.bottom - frame.top);
  const svg = s(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": curvesSaid(list, looks, measure, title) },
    axes({ ...frame, x, y, ticks: ticksOf(low, high), format: (tick) => number(tick, 1 < (high - low) * 5 ? 1 : 2) }),
    chanceLines(shownOnes, frame, y),
    shownOnes.filter(({ appearance }) => appearance.grey).map(({ entry, appearance }) => curve(entry.measures[measure], appearance, x, y)),
    shownOnes.filter(({ appearance }) => appearance.on).map(({ entry, appearance }) => [band(entry.measures[measure], appearance, x, y)]).flat(),
    shownOnes.filter(({ appearance }) => appearance.on).map(({ entry, appearance }) => curve(entry.measures[measure], appearance, x, y)),
    moving(() => shownOnes.filter(({ appearance }) => appearance.on).map(({ entry, appearance }) => here(entry.measures[measure], appearance, x, y))),
    endLabels(named, names, measure, frame, x, y),
  );
  return picksSteps(svg, x);
}

/** What a screen reader says of the chart: the lines that are on, or all where none is. */
function curvesSaid(list, looks, measure, title) {
  const on = list.filter((_, index) => looks[index].on);
  const spoken = (on.length ? on : list).map((entry) => `${entry.name} ${number(entry.measures[measure].value[view.step])}`);
  return `${title} by step. At ${STEPS[view.step].label}: ${spoken.join(", ")}.`;
}

function last(values) {
  return values.findLast((value) => value !== null) ?? null;
}

/** A little more than the values take, within 0 and 1 where they are. */
function spanned(values) {
  if (!values.length) return [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.02, (high - low) * 0.06);
  return [Math.max(0, low - room), Math.min(1, high + room)];
}

function curve(series, appearance, x, y) {
  const points = series.value.map((value, index) => (value === null ? null : [x(index), y(value)]));
  const line = s("path", {
    class: appearance.main ? "curve main" : appearance.grey ? "curve grey" : "curve",
    d: path(points),
    stroke: appearance.colour,
    "stroke-dasharray": appearance.dash,
  });
  const marks = appearance.grey || points.length > 12 ? [] : points.map((point) => point && marker(appearance, ...point, 3.2));
  return s("g", {}, line, marks);
}

/** The mark of a line at the shown step. */
function here(series, appearance, x, y) {
  const value = series.value[view.step];
  return value === null ? null : marker(appearance, x(view.step), y(value), 5, { class: "here" });
}

function band(series, appearance, x, y) {
  const parts = [];
  let run = [];
  const close = () => {
    if (run.length) parts.push(`${path(run.map((index) => [x(index), y(series.high[index])]))}${path(run.toReversed().map((index) => [x(index), y(series.low[index])])).replace("M", "L")}Z`);
    run = [];
  };
  series.low.forEach((value, index) => (value === null ? close() : run.push(index)));
  close();
  return s("path", { class: "band", d: parts.join(""), fill: appearance.colour });
}

function chanceLines(shownOnes, frame, y) {
  const found = shownOnes.filter(({ entry, appearance }) => entry.chance !== null && appearance.on);
  if (!found.length) return [];
  const values = found.map(({ entry }) => entry.chance);
  const alike = Math.max(...values) - Math.min(...values) < 0.01;
  const lines = alike ? [{ value: values[0], colour: "var(--soft)" }] : found.map(({ entry, appearance }) => ({ value: entry.chance, colour: appearance.colour }));
  return [
    ...lines.map(({ value, colour }) => s("line", { class: "chance", x1: frame.left, x2: frame.right, y1: y(value), y2: y(value), stroke: colour })),
    s("text", { class: "chance-name", x: frame.right - 4, y: y(Math.min(...values)) + 14, "text-anchor": "end" }, "chance"),
  ];
}

/** Names at the lines' ends, moved apart where they would cover each other. */
function endLabels(named, names, measure, frame, x, y) {
  const places = named
    .map(({ entry, appearance }, index) => {
      const values = entry.measures[measure].value;
      const at = values.findLastIndex((value) => value !== null);
      return { appearance, name: names[index], at, y: at < 0 ? null : y(values[at]) };
    })
    .filter((place) => place.y !== null)
    .sort((one, other) => one.y - other.y);
  const gap = 16;
  places.forEach((place, index) => (place.text = Math.max(place.y, index ? places[index - 1].text + gap : -Infinity)));
  let floor = frame.bottom + 4;
  for (const place of places.toReversed()) {
    place.text = Math.min(place.text, floor);
    floor = place.text - gap;
  }
  return places.map((place) => [
    s("path", { class: "leader", d: `M${x(place.at) + 6} ${place.y}L${frame.right + 8} ${place.text}`, stroke: place.appearance.colour }),
    s("text", { class: place.appearance.main ? "end main" : "end", x: frame.right + 12, y: place.text + 4 }, place.name),
  ]).flat();
}

function curveTable(list, measure) {
  return {
    head: ["", ...STEPS.map((step) => step.label), "chance"],
    rows: list.map((entry) => [
      entry.name,
      ...STEPS.map((_, index) => {
        const { value, low, high } = entry.measures[measure];
        return low[index] === null ? number(value[index], 4) : `${number(value[index], 4)} (${interval(low[index], high[index], 4)})`;
      }),
      number(entry.chance, 4),
    ]),
  };
}

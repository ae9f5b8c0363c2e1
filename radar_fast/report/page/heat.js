// Task by step: the score, or what it has gained since the step before, with a mark where that is no noise.

function heat() {
  const kinds = LEVELS.filter((kind) => kind !== "ability");
  if (!kinds.length || STEPS.length < 2) {
    byId("heat").remove();
    return;
  }
  let level = kinds.includes("task") ? "task" : kinds[0];
  let mode = "value";
  let order = "name";
  const modes = { value: "SDS", gain: "Change" };
  const orders = { name: "by name", last: "by score", gain: "by growth" };
  const tools = [choice("Numbers", Object.entries(modes), mode, (value) => ((mode = value), change()))];
  if (kinds.length > 1) tools.unshift(choice("Rows", kinds.map((kind) => [kind, KINDS[kind]]), level, (value) => ((level = value), change())));
  const sorting = h("select", { "aria-label": "Order of the rows", onchange: () => ((order = sorting.value), change()) },
    Object.entries(orders).map(([value, text]) => h("option", { value }, text)));
  tools.push(sorting);
  const { box, refresh } = figure(
    "heat",
    "Task by step",
    "Blue is above chance, orange below. \u25B2 and \u25BC mark a change since the step before that is no noise: "
      + `${DATA.significance}. Arrow keys read the cells; a click, or Enter, lists their samples.`,
    { tools, table: () => heatTable(rowsOf(level, order), mode) },
  );
  box.classList.add("scroll");
  const redraw = drawIn(box, (width) => heatMap(width, rowsOf(level, order), mode));
  const scale = h("div", { class: "scale" });
  box.after(scale);
  function change() {
    scale.replaceChildren(...scaleOf(mode));
    redraw();
    refresh();
  }
  watch(change, () => (order === "name" ? moveIn(box) : change()));
}

function rowsOf(level, order) {
  const list = [...entries(level)];
  const value = (entry) => entry.measures.sds.value[view.step] ?? -1;
  const growth = (entry) => difference(entry.measures.sds.value, view.step, 0) ?? -1;
  if (order === "last") list.sort((one, other) => value(other) - value(one));
  else if (order === "gain") list.sort((one, other) => growth(other) - growth(one));
  return list;
}

/** How far above chance (to 1) or below (to 0), as a share from -1 to 1. */
function aboveChance(value, chance) {
  if (value === null) return null;
  const base = chance ?? 0;
  return value >= base ? (value - base) / Math.max(1e-9, 1 - base) : (value - base) / Math.max(1e-9, base);
}

/** A colour that follows the theme: paper at 0, blue towards 1, orange towards -1. */
function heatColour(share) {
  if (share === null) return "transparent";
  const end = share >= 0 ? "var(--high)" : "var(--low)";
  return `color-mix(in oklab, ${end} ${(100 * Math.min(1, Math.abs(share)) ** 0.85).toFixed(1)}%, var(--zero))`;
}

const FULL_CHANGE = 0.25;

function cellShare(entry, step, mode) {
  if (mode === "value") return aboveChance(entry.measures.sds.value[step], entry.chance);
  const gain = entry.gains.value[step];
  return gain === null ? null : Math.max(-1, Math.min(1, gain / FULL_CHANGE));
}

function markOf(entry, step) {
  if (!entry.gains.significant[step]) return "";
  return entry.gains.value[step] > 0 ? "\u25B2" : "\u25BC";
}

function cellText(entry, step, mode) {
  const { value, low, high } = entry.measures.sds;
  const { gains } = entry;
  const level = `${number(value[step])} (${interval(low[step], high[step])})`;
  const change = gains.value[step] === null
    ? "no step before to compare with"
    : `${signed(gains.value[step])} (${interval(gains.low[step], gains.high[step])}) since the step before${gains.significant[step] ? ", significant" : ""}`;
  return `${entry.name} at ${STEPS[step].label}: ${mode === "value" ? `${level}; ${change}` : `${change}; ${level}`}`;
}

function heatMap(width, list, mode) {
  const names = Math.min(width * 0.38, 30 + Math.max(...list.map((entry) => textWidth(entry.short, 12))));
  const room = Math.max(12, (width - names - 4) / STEPS.length);
  const tall = list.length > 40 ? 18 : 24;
  const whole = Math.max(width - 2, names + room * STEPS.length + 2);
  const height = 30 + list.length * tall + 6;
  const x = (index) => names + (index + 0.5) * room;
  const written = room >= 36;
  const shown = labelled(x);
  const cells = list.map((entry, row) =>
    STEPS.map((_, step) => {
      const share = cellShare(entry, step, mode);
      const [left, top] = [names + step * room, 28 + row * tall];
      const mark = markOf(entry, step);
      const value = mode === "value" ? number(entry.measures.sds.value[step], 2) : signed(entry.gains.value[step], 2);
      const text = written ? `${value.replace("0.", ".")}${mark && ` ${mark}`}` : mark;
      const strong = Math.abs(share ?? 0) > 0.55;
      return [
        s("rect", { class: share === null ? "cell none" : "cell", x: left, y: top, width: room - 1, height: tall - 1, style: { fill: heatColour(share) } }),
        text && s("text", { class: strong ? "cell-text strong" : "cell-text", x: left + room / 2, y: top + tall / 2 + 4, "text-anchor": "middle" }, text),
      ];
    }).flat().filter(Boolean),
  );
  const cursor = s("rect", { class: "cursor", width: room - 1, height: tall - 1, visibility: "hidden" });
  const svg = s(
    "svg",
    {
      width: whole,
      height,
      viewBox: `0 0 ${whole} ${height}`,
      tabindex: "0",
      role: "application",
      "aria-roledescription": "heat map",
      "aria-label": `${list.length} rows, ${STEPS.length} steps. Arrow keys read a cell.`,
      class: "heat",
    },
    moving(() => shown.map((index) => s("text", { x: x(index), y: 18, "text-anchor": "middle", class: index === view.step ? "now" : "" }, STEPS[index].label))),
    list.map((entry, row) => s("text", { x: names - 8, y: 28 + row * tall + tall / 2 + 4, "text-anchor": "end" }, fitted(entry.short, names - 12), s("title", {}, entry.name))),
    cells.flat(),
    moving(() => s("rect", { class: "column", x: names + view.step * room - 1, y: 27, width: room + 1, height: list.length * tall + 1 })),
    cursor,
  );
  heatKeys(svg, cursor, { list, mode, names, room, tall });
  return svg;
}

/** Reading it by mouse and by key: the cell under the cursor is said, a click or Enter goes to its samples. */
function heatKeys(svg, cursor, { list, mode, names, room, tall }) {
  let at = { row: 0, step: view.step };
  const tip = byId("tip");
  const move = (row, step) => {
    at = { row: Math.max(0, Math.min(list.length - 1, row)), step: Math.max(0, Math.min(STEPS.length - 1, step)) };
    cursor.setAttribute("x", names + at.step * room);
    cursor.setAttribute("y", 28 + at.row * tall);
    cursor.setAttribute("visibility", "visible");
  };
  const from = (event) => {
    const box = svg.getBoundingClientRect();
    const [step, row] = [Math.floor((event.clientX - box.left - names) / room), Math.floor((event.clientY - box.top - 28) / tall)];
    return step < 0 || step >= STEPS.length || row < 0 || row >= list.length ? null : { step, row };
  };
  const open = () => {
    const entry = list[at.row];
    show({ step: at.step });
    filterSamples(entry.kind, entry.name);
  };
  svg.addEventListener("pointermove", (event) => {
    const cell = from(event);
    if (!cell) return tip.hide();
    move(cell.row, cell.step);
    return tip.say(cellText(list[cell.row], cell.step, mode), event);
  });
  svg.addEventListener("pointerleave", () => tip.hide());
  svg.addEventListener("click", (event) => {
    const cell = from(event);
    if (cell) {
      move(cell.row, cell.step);
      open();
    }
  });
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Enter") open();
    if (!by) return;
    event.preventDefault();
    move(at.row + by[0], at.step + by[1]);
    announce(cellText(list[at.row], at.step, mode));
  });
}

function scaleOf(mode) {
  const ends = mode === "value" ? ["0", "chance", "1"] : [`${MINUS}${FULL_CHANGE}`, "0", `+${FULL_CHANGE}`];
  const bar = h("span", { class: "scale-bar" });
  for (let at = -10; at <= 10; at += 1) bar.append(h("i", { style: { background: heatColour(at / 10) } }));
  return [h("span", {}, ends[0]), h("span", { class: "scale-middle" }, bar, h("span", {}, ends[1])), h("span", {}, ends[2])];
}

function heatTable(list, mode) {
  return {
    head: ["", ...STEPS.map((step) => step.label)],
    rows: list.map((entry) => [
      entry.name,
      ...STEPS.map((_, step) =>
        `${mode === "value" ? number(entry.measures.sds.value[step], 4) : signed(entry.gains.value[step], 4)} ${markOf(entry, step)}`.trim()),
    ]),
  };
}

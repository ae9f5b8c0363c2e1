// The frame of every figure: heading, a sentence on how to read it, its controls, the drawing, and the same as a table.

/** Fill a section. `table` gives {head, rows} when a reader asks for the numbers; returns the box to draw in. */
function figure(id, title, about, { tools = [], table = null } = {}) {
  const section = byId(id);
  const box = h("div", { class: "drawing" });
  const below = h("div", { class: "table-box" });
  const asTable = table && h("button", { type: "button", class: "quiet", "aria-expanded": "false", onclick: flip }, "Table");
  function flip() {
    const open = below.childElementCount === 0;
    below.replaceChildren(...(open ? [tableOf(title, table())] : []));
    asTable.setAttribute("aria-expanded", String(open));
  }
  section.setAttribute("aria-labelledby", `${id}-title`);
  section.replaceChildren(
    h(
      "div",
      { class: "head" },
      h("h2", { id: `${id}-title` }, title),
      h("div", { class: "tools" }, ...tools, asTable),
    ),
    h("p", { class: "about" }, about),
    box,
    below,
  );
  return { section, box, refresh: () => below.childElementCount && below.replaceChildren(tableOf(title, table())) };
}

function tableOf(caption, { head, rows }) {
  const cell = (value, column) =>
    column === 0 ? h("th", { scope: "row" }, value) : h("td", {}, value);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": `${caption}, as a table` },
    h(
      "table",
      {},
      h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell)))),
    ),
  );
}

/** A row of buttons of which one is on. `pick` is called with its value. */
function choice(label, options, chosen, pick) {
  const group = h("div", { class: "choice", role: "group", "aria-label": label });
  const set = (value) => {
    for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.value === String(value)));
  };
  for (const [value, text] of options) {
    group.append(
      h("button", { type: "button", "data-value": value, onclick: () => (set(value), pick(value)) }, text),
    );
  }
  set(chosen);
  return group;
}

const READABLE = 8;

/** Where each step stands, 0 to 1: by its number, or the number's logarithm where steps are rather multiples of each
    other; in order where not every step has a number. */
function stepAxis() {
  const numbers = STEPS.map((step) => step.step);
  if (STEPS.length < 2) return { kind: "order", at: () => 0.5 };
  const ordered = numbers.every((value, index) => value !== null && (index === 0 || value > numbers[index - 1]));
  if (!ordered) return { kind: "order", at: (index) => index / (STEPS.length - 1) };
  const scale = (of) => {
    const [low, high] = [of(numbers[0]), of(numbers[numbers.length - 1])];
    return (index) => (of(numbers[index]) - low) / (high - low);
  };
  const closest = (at) => Math.min(...numbers.slice(1).map((_, index) => at(index + 1) - at(index)));
  const linear = scale((value) => value);
  const logarithmic = numbers[0] > 0 ? scale(Math.log) : linear;
  return closest(logarithmic) > 2 * closest(linear) ? { kind: "log", at: logarithmic } : { kind: "linear", at: linear };
}

const AXIS = stepAxis();
const AXIS_NOTE = { log: "training step (logarithmic)", linear: "training step", order: "checkpoint" }[AXIS.kind];

/** The steps whose labels fit side by side between `left` and `right`: the first, the last, and what lies between. */
function labelled(x) {
  const room = (index) => textWidth(STEPS[index].label, 12) / 2 + READABLE / 2;
  const shown = [0];
  const last = STEPS.length - 1;
  for (let index = 1; index <= last; index += 1) {
    const free = x(index) - room(index) > x(shown[shown.length - 1]) + room(shown[shown.length - 1]);
    const clear = index === last || x(index) + room(index) < x(last) - room(last);
    if (free && clear) shown.push(index);
  }
  if (last > 0 && shown[shown.length - 1] !== last) shown.push(last);
  return shown;
}

/** Grid, labels and the line of the shown step for a chart of values between `low` and `high`. */
function axes({ left, right, top, bottom, x, y, ticks, format }) {
  return s(
    "g",
    { class: "axes" },
    ticks.map((tick) => [
      s("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }),
      s("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
    ]).flat(),
    labelled(x).map((index) => [
      s("line", { class: "tick", x1: x(index), x2: x(index), y1: bottom, y2: bottom + 4 }),
      s("text", { x: x(index), y: bottom + 18, "text-anchor": "middle" }, STEPS[index].label),
    ]).flat(),
    s("text", { class: "axis-note", x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle" }, AXIS_NOTE),
    moving(() => s("line", { class: "shown-step", x1: x(view.step), x2: x(view.step), y1: top, y2: bottom })),
  );
}

/** Round numbers between low and high, about `wanted` of them. */
function ticksOf(low, high, wanted = 5) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) || 0; at * step <= high + 1e-9; at += 1) found.push(at * step);
  return found;
}

/** Let the mouse and the arrow keys pick a step on a chart. */
function picksSteps(svg, x) {
  svg.addEventListener("click", (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    const near = STEPS.map((_, index) => Math.abs(x(index) - at));
    show({ step: near.indexOf(Math.min(...near)) });
  });
  svg.setAttribute("class", "picks");
  return svg;
}

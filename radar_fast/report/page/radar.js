// The profile of a checkpoint: an axis for each ability, the shown step over the one before it as a ghost.

const RADAR_AXES = [3, 16];

function radar() {
  const fits = LEVELS.filter((kind) => entries(kind).length >= RADAR_AXES[0] && entries(kind).length <= RADAR_AXES[1]);
  if (!fits.length) {
    byId("radar").remove();
    return;
  }
  let level = fits.includes("directory") ? "directory" : fits[0];
  const tools = fits.length > 1 ? [choice("Axes", fits.map((kind) => [kind, KINDS[kind]]), level, (value) => ((level = value), change()))] : [];
  const { box, refresh } = figure(
    "radar",
    "Profile",
    "SDS on each axis, 0 in the middle and 1 at the rim. Filled: the step shown; dashed: what it is compared with; "
      + "dotted: chance.",
    { tools, table: () => radarTable(entries(level)) },
  );
  const redraw = drawIn(box, (width) => radarChart(width, entries(level)));
  function change() {
    redraw();
    refresh();
  }
  watch(change);
}

function radarChart(width, list) {
  const radius = Math.min(165, width / 2 - Math.min(width * 0.27, 130));
  const height = 2 * radius + 84;
  const [cx, cy] = [width / 2, height / 2];
  const at = (index, value) => {
    const angle = (2 * Math.PI * index) / list.length - Math.PI / 2;
    return [cx + Math.cos(angle) * radius * value, cy + Math.sin(angle) * radius * value];
  };
  const shape = (values) => `${path(values.map((value, index) => at(index, Math.max(0, value ?? 0))))}Z`;
  const valuesAt = (step) => list.map((entry) => entry.measures.sds.value[step]);
  const now = valuesAt(view.step);
  const ghost = before() === view.step ? null : valuesAt(before());
  const rings = [0.25, 0.5, 0.75, 1];
  return s(
    "svg",
    {
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `Profile at ${STEPS[view.step].label}: ${list.map((entry, index) => `${entry.name} ${number(now[index])}`).join(", ")}.`,
    },
    rings.map((ring) => s("path", { class: "grid", d: shape(list.map(() => ring)) })),
    list.map((_, index) => s("path", { class: "grid", d: path([[cx, cy], at(index, 1)]) })),
    rings.map((ring) => s("text", { class: "ring", x: cx + 4, y: cy - radius * ring + 4 }, number(ring, 2))),
    s("path", { class: "chance", d: shape(list.map((entry) => entry.chance)), stroke: "var(--soft)" }),
    ghost && s("path", { class: "ghost", d: shape(ghost) }),
    s("path", { class: "profile", d: shape(now) }),
    list.map((entry, index) => {
      const [x, y] = at(index, Math.max(0, now[index] ?? 0));
      return s("circle", { class: "vertex", cx: x, cy: y, r: 3.5 }, s("title", {}, `${entry.name}: ${number(now[index])}`));
    }),
    list.map((entry, index) => {
      const [x, y] = at(index, 1 + 14 / radius);
      const side = Math.abs(x - cx) < 4 ? "middle" : x > cx ? "start" : "end";
      const room = Math.min(140, side === "middle" ? 140 : (side === "start" ? width - x : x) - 2);
      const lines = wrapped(entry.short, room);
      const top = y + (y < cy - 4 ? -(lines.length - 1) * 13 : 0) + (Math.abs(y - cy) < 4 ? -4 : 0);
      return s(
        "text",
        { class: "axis-name", x, y: top + 4, "text-anchor": side },
        lines.map((line, row) => s("tspan", { x, dy: row ? 13 : 0 }, line)),
        s("title", {}, entry.name),
      );
    }),
  );
}

/** A name in at most two lines of so many pixels, broken where a word ends. */
function wrapped(text, width) {
  const words = text.split(/(?<=[\s_/-])/);
  let fits = 1;
  while (fits < words.length && textWidth(words.slice(0, fits + 1).join("").trim()) <= width) fits += 1;
  const lines = [words.slice(0, fits), words.slice(fits)].map((line) => line.join("").trim());
  return lines.filter(Boolean).map((line) => fitted(line, width));
}

function radarTable(list) {
  return {
    head: ["", STEPS[view.step].label, STEPS[before()].label, "change", "chance"],
    rows: list.map((entry) => {
      const { value } = entry.measures.sds;
      return [entry.name, number(value[view.step], 4), number(value[before()], 4), signed(difference(value, view.step, before()), 4), number(entry.chance, 4)];
    }),
  };
}

// The series in a few numbers, and what its reader has to know before believing them.

function glance() {
  byId("title").textContent = DATA.benchmark;
  byId("subtitle").textContent = subtitle();
  document.title = `${DATA.benchmark} \u00B7 radar-fast`;
  const tiles = h("div", { class: "tiles" });
  byId("glance").append(tiles, warnings());
  watch(() => tiles.replaceChildren(...tilesOf(view.step, before())));
  byId("footer").append(
    `Made by radar-fast ${REPORT.version} on ${REPORT.made}. `,
    "SDS is the Soft Discrimination Score: the probability of the right answer among the candidates. Bands and ranges "
      + "are 95% intervals; chance is the mean of one over the number of candidates.",
  );
}

function subtitle() {
  const span = STEPS.length > 1 ? `${STEPS.length} checkpoints, ${STEPS[0].label} to ${STEPS[STEPS.length - 1].label}` : `Checkpoint ${STEPS[0].label}`;
  return `${span} \u00B7 ${plural(DATA.samples.count, "sample")} in ${plural(DATA.samples.tasks.length, "task")}`;
}

function tile(label, value, ...more) {
  return h("div", { class: "tile" }, h("span", { class: "label" }, label), h("strong", {}, value), ...more);
}

function tilesOf(step, earlier) {
  const [overall] = entries("overall");
  const sds = overall.measures.sds;
  const accuracy = overall.measures.accuracy;
  const since = earlier === step ? null : STEPS[earlier].label;
  const moved = (series) =>
    since === null || series.value[step] === null || series.value[earlier] === null
      ? null
      : changeText(series.value[step] - series.value[earlier], `since ${since}`);
  const tasks = entries("task");
  const above = tasks.filter((task) => isAbove(task, step)).length;
  const run = STEPS[step];
  const tiles = [
    tile(`SDS at ${run.label}`, number(sds.value[step]), h("span", {}, interval(sds.low[step], sds.high[step])), moved(sds)),
    tile("Accuracy", number(accuracy.value[step]), h("span", {}, interval(accuracy.low[step], accuracy.high[step])), moved(accuracy)),
    tile("Tasks above chance", `${above} of ${tasks.length}`, h("span", {}, `chance is ${number(overall.chance)} overall`)),
  ];
  const gains = since === null ? [] : gainsOf("directory", step, earlier);
  if (gains.length > 1) {
    const [most, least] = [gains[0], gains[gains.length - 1]];
    const noise = ({ entry }) => earlier === step - 1 && entry.gains.significant[step] === false && h("span", {}, "not significant");
    const named = ({ entry }) => h("span", { title: entry.name }, clipped(entry.short, 34));
    tiles.push(tile("Grew most", signed(most.gain), named(most), noise(most)));
    tiles.push(tile(least.gain < 0 ? "Lost most" : "Grew least", signed(least.gain), named(least), noise(least)));
  }
  const speed = run.samples_per_second;
  tiles.push(
    tile("Samples", count(run.scored), h("span", {}, run.unscored ? `${count(run.unscored)} unscored` : "all scored"),
      speed ? h("span", {}, `${number(speed, speed < 10 ? 1 : 0)} a second`) : null),
  );
  return tiles;
}

function changeText(change, since) {
  const mark = Math.abs(change) < 0.0005 ? "" : change > 0 ? "\u25B2 " : "\u25BC ";
  return h("span", { class: change > 0 ? "up" : "down" }, `${mark}${signed(change)} ${since}`);
}

function isAbove(entry, step) {
  const low = entry.measures.sds.low[step];
  return low !== null && entry.chance !== null && low > entry.chance;
}

/** By what each entry has grown between two steps, the most first. */
function gainsOf(kind, step, earlier) {
  return entries(kind)
    .map((entry) => ({ entry, gain: difference(entry.measures.sds.value, step, earlier) }))
    .filter((one) => one.gain !== null)
    .sort((one, other) => other.gain - one.gain);
}

function difference(values, step, earlier) {
  return values[step] === null || values[earlier] === null ? null : values[step] - values[earlier];
}

function warnings() {
  if (!DATA.warnings.length) return h("p", { class: "fine" }, "\u2713 Every sample is scored, and all runs are alike.");
  return h(
    "details",
    { class: "warnings", open: DATA.warnings.length <= 4 },
    h("summary", {}, `${plural(DATA.warnings.length, "thing")} to know`),
    h("ul", {}, DATA.warnings.map((text) => h("li", {}, text))),
  );
}

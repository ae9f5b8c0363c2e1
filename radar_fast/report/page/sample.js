// One sample: as a row of the list, and in full.

function sampleRow(table, sample, index, chosen, pick) {
  const [now, then] = [view.step, before()];
  const fate = fateOf(table, sample, then, now);
  const task = table.tasks[table.task[sample]];
  return h(
    "div",
    {
      class: "sample-row",
      id: `sample-${index}`,
      role: "option",
      "aria-selected": String(chosen),
      style: { top: `${index * ROW}px` },
      onclick: () => pick(index),
    },
    h("span", { class: `mark ${fate ?? "none"}`, title: fate ? FATES[fate][0] : "unscored" }, fate ? FATES[fate][2] : "\u2013"),
    h("span", { class: "words" }, h("b", {}, clipped(table.questions[sample] || "(no text)", 160)), h("small", {}, task.short)),
    spark(table, sample),
    h("span", { class: "odds" }, `${oddsAt(table, sample, then)} \u2192 ${oddsAt(table, sample, now)}`),
  );
}

function oddsAt(table, sample, step) {
  return table.stateAt(sample, step) >= UNSCORED ? "\u2013" : `${table.answerAt(sample, step)}%`;
}

/** The answer's probability over the steps. */
function spark(table, sample, width = 92, height = 26) {
  const x = (step) => 3 + AXIS.at(step) * (width - 6);
  const y = (value) => height - 3 - (value / 100) * (height - 6);
  const points = STEPS.map((_, step) => (table.stateAt(sample, step) >= UNSCORED ? null : [x(step), y(table.answerAt(sample, step))]));
  const chance = y(100 / Math.max(1, table.candidates(sample)));
  const here = points[view.step];
  return s(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    s("line", { class: "chance", x1: 0, x2: width, y1: chance, y2: chance, stroke: "var(--soft)" }),
    s("path", { class: "curve", d: path(points), stroke: "var(--accent)" }),
    here && s("circle", { cx: here[0], cy: here[1], r: 2.8, fill: "var(--accent)" }),
  );
}

/** Everything that is known of a sample, at the two steps. */
function sampleDetail(table, sample) {
  const [name, question, candidates] = [table.names[sample], table.questions[sample], table.texts[sample]];
  const [pictures, reason] = [table.pictures[sample] ?? [], table.reasons.get(sample)];
  const [now, then] = [view.step, before()];
  const task = table.tasks[table.task[sample]];
  const fate = fateOf(table, sample, then, now);
  const order = candidates.map((_, index) => index).sort((one, other) => table.percentAt(sample, other, now) - table.percentAt(sample, one, now));
  const unscored = table.stateAt(sample, now) >= UNSCORED;
  return [
    h("p", { class: "where" },
      h("span", { class: `badge ${fate ?? "none"}` }, fate ? `${FATES[fate][2]} ${FATES[fate][0]}` : "Unscored"),
      ` ${task.name} \u00B7 ${name}`),
    pictures.length ? h("div", { class: "pictures" }, pictures.map((picture, index) => pictureOf(picture, index, pictures.length))) : null,
    !pictures.length && table.images[sample] > 0 ? h("p", { class: "about" }, `${plural(table.images[sample], "picture")} not shown: ${DATA.pictures.why}`) : null,
    h("p", { class: "question" }, question || "(no text)"),
    reason ? h("p", { class: "about" }, `Unscored: ${reason}`) : null,
    h(
      "ol",
      { class: "candidates", "aria-label": `Candidates by probability at ${STEPS[now].label}` },
      (unscored ? candidates.map((_, index) => index) : order).map((index) => candidate(table, sample, candidates[index], index, unscored)),
    ),
    STEPS.length > 1 ? fared(table, sample) : null,
    STEPS.length > 1 ? history_(table, sample) : null,
  ].filter(Boolean);
}

function pictureOf(picture, index, of) {
  const image = h("img", { alt: of > 1 ? `Picture ${index + 1} of ${of}` : "The sample's picture", src: pictureSource(picture) });
  image.addEventListener("error", () => image.replaceWith(h("p", { class: "about" }, `The picture ${DATA.pictures.prefix}${picture} is not there.`)));
  return image;
}

function pictureSource(picture) {
  if (DATA.pictures.inline) return `data:image/jpeg;base64,${byId(`picture-${picture}`).textContent}`;
  return `${DATA.pictures.prefix}${picture}.jpg`;
}

function candidate(table, sample, text, index, unscored) {
  const right = index === table.answer[sample];
  if (unscored) return h("li", {}, h("span", { class: "text" }, text));
  const [now, then] = [table.percentAt(sample, index, view.step), table.percentAt(sample, index, before())];
  const compared = before() !== view.step && table.stateAt(sample, before()) < UNSCORED;
  return h(
    "li",
    { class: right ? "right" : "" },
    h("span", { class: "text" }, right ? h("b", { class: "tick" }, "\u2713 ", h("span", { class: "hidden" }, "right answer: ")) : null, text),
    h("span", { class: "bar", "aria-hidden": "true" },
      h("i", { class: "fill", style: { width: `${now}%` } }),
      compared ? h("i", { class: "was", style: { left: `${then}%` } }) : null),
    h("span", { class: "odds" }, `${now}%`, compared ? h("small", {}, ` was ${then}%`) : null),
  );
}

/** How it fared: the probability of each candidate over the steps, the answer's on top. */
function fared(table, sample) {
  const [width, height] = [460, 130];
  const frame = { left: 44, right: width - 8, top: 8, bottom: height - 8 };
  const x = (step) => frame.left + 6 + AXIS.at(step) * (frame.right - frame.left - 12);
  const y = (value) => frame.bottom - (value / 100) * (frame.bottom - frame.top);
  const line = (candidate) => path(STEPS.map((_, step) => (table.stateAt(sample, step) >= UNSCORED ? null : [x(step), y(table.percentAt(sample, candidate, step))])));
  const others = Array.from({ length: table.candidates(sample) }, (_, candidate) => candidate).filter((candidate) => candidate !== table.answer[sample]);
  return s(
    "svg",
    { class: "fared", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Probability of the right answer over the steps" },
    [0, 50, 100].map((tick) => [
      s("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(tick), y2: y(tick) }),
      s("text", { x: frame.left - 6, y: y(tick) + 4, "text-anchor": "end" }, `${tick}%`),
    ]),
    s("line", { class: "shown-step", x1: x(view.step), x2: x(view.step), y1: frame.top, y2: frame.bottom }),
    others.map((candidate) => s("path", { class: "curve grey", d: line(candidate), stroke: "var(--soft)" })),
    s("path", { class: "curve main", d: line(table.answer[sample]), stroke: "var(--accent)" }),
    STEPS.map((_, step) => table.stateAt(sample, step) < UNSCORED && (step === view.step || STEPS.length <= 12)
      && marker({ colour: "var(--accent)", shape: SHAPES[0] }, x(step), y(table.answerAt(sample, step)), step === view.step ? 4.5 : 2.8)),
  );
}

/** At which steps it was right: a box for each. */
function history_(table, sample) {
  const names = ["wrong", "right", "unscored", "not in this run"];
  const boxes = STEPS.map((step, index) => {
    const state = table.stateAt(sample, index);
    const odds = state >= UNSCORED ? "" : `, answer ${table.answerAt(sample, index)}%`;
    const label = `${step.label}: ${names[state]}${odds}`;
    return h(
      "button",
      {
        type: "button",
        class: `step-box ${["wrong", "right", "none", "none"][state]}${index === view.step ? " now" : ""}`,
        title: label,
        "aria-label": label,
        onclick: () => show({ step: index }),
      },
      ["\u2717", "\u2713", "\u2013", ""][state],
    );
  });
  return h("div", { class: "history", role: "group", "aria-label": "Over the steps" }, boxes);
}

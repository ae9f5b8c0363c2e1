// What was gained and lost between two steps, sample by sample. The list holds only the rows that are in view.

const ROW = 56;

const FATES = {
  gained: ["Gained", "wrong before, right now", "\u25B2"],
  lost: ["Lost", "right before, wrong now", "\u25BC"],
  forgotten: ["Forgotten", "right at two steps or more, and wrong at the last two", "\u25D0"],
  right: ["Right in both", "", "\u25CF"],
  wrong: ["Wrong in both", "", "\u25CB"],
  all: ["All", "", ""],
};
const ORDERS = {
  change: "largest change first",
  margin: "closest decision first",
  benchmark: "by task and id",
};

let filterSamples = () => {};

async function flips() {
  const { box } = figure(
    "flips",
    "Samples: gained, lost, forgotten",
    "Between the two steps chosen above. Choose a sample to see its picture, its candidates and how it fared.",
  );
  box.append(h("p", { class: "about" }, "Unpacking the samples\u2026"));
  const table = await samples();
  const wanted = { fate: STEPS.length > 1 ? "gained" : "all", kind: "", name: "", images: "", margin: [-100, 100], text: "", order: "change" };
  const found = { list: [], counts: {} };
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "Which samples" });
  const list = sampleList(table, found);
  const filters = filterForm(table, wanted, changed);
  const said = h("p", { class: "about", role: "status" });
  box.replaceChildren(tabs, filters, said, h("div", { class: "samples" }, list.element, list.detail));
  filterSamples = (kind, name) => {
    Object.assign(wanted, { kind, name, fate: "all" });
    filters.elements.place.value = `${kind}:${name}`;
    changed();
    byId("flips").scrollIntoView({ block: "start" });
    list.element.focus({ preventScroll: true });
  };
  function changed() {
    select(table, wanted, found);
    tabs.replaceChildren(...tabsOf(found.counts, wanted, (fate) => ((wanted.fate = fate), changed())));
    const meant = FATES[wanted.fate][1];
    said.textContent = `${plural(found.list.length, "sample")}${meant && `: ${meant}`} (${STEPS[before()].label} \u2192 ${STEPS[view.step].label}).`;
    list.refresh();
  }
  watch(changed);
}

function tabsOf(counts, wanted, pick) {
  return Object.entries(FATES)
    .filter(([fate]) => STEPS.length > 1 || fate === "all")
    .map(([fate, [name, meaning, mark]]) => {
      const button = h(
        "button",
        { type: "button", title: meaning, "data-fate": fate, "aria-pressed": String(wanted.fate === fate), class: `fate ${fate}` },
        h("span", { "aria-hidden": "true" }, mark),
        ` ${name} `,
        h("b", {}, count(counts[fate] ?? 0)),
      );
      button.addEventListener("click", () => {
        pick(fate);
        byId("flips").querySelector(`[data-fate=${fate}]`).focus();
      });
      return button;
    });
}

function filterForm(table, wanted, changed) {
  const option = (value, text) => h("option", { value }, text);
  const places = h(
    "select",
    {
      name: "place",
      "aria-label": "Task",
      onchange: () => {
        [wanted.kind, wanted.name] = split(places.value);
        changed();
      },
    },
    option("", "all tasks"),
    LEVELS.map((kind) => h("optgroup", { label: KINDS[kind] }, entries(kind).map((entry) => option(`${kind}:${entry.name}`, entry.short)))),
  );
  const split = (value) => {
    const at = value.indexOf(":");
    return at < 0 ? ["", ""] : [value.slice(0, at), value.slice(at + 1)];
  };
  const known = DATA.samples.images_known;
  const most = Math.min(9, table.images.reduce((one, other) => Math.max(one, other), 0));
  const images = h(
    "select",
    { name: "images", "aria-label": "Images", onchange: () => ((wanted.images = images.value), changed()) },
    option("", "any number of images"),
    Array.from({ length: most + 1 }, (_, amount) => option(amount, amount === 1 ? "1 image" : `${amount} images`)),
  );
  const bound = (index, label) => {
    const read = () => {
      wanted.margin[index] = field.value === "" ? [-100, 100][index] : Number(field.value);
      changed();
    };
    const field = h("input", {
      type: "number", min: -100, max: 100, step: 5, value: wanted.margin[index], "aria-label": label,
      name: index ? "most" : "least", oninput: read, onchange: read,
    });
    return field;
  };
  const text = h("input", {
    type: "search", name: "text", placeholder: "words in question or answer", "aria-label": "Words in question or answer",
    oninput: () => ((wanted.text = text.value.toLowerCase()), changed()),
  });
  const order = h("select", { name: "order", "aria-label": "Order", onchange: () => ((wanted.order = order.value), changed()) },
    Object.entries(ORDERS).map(([value, name]) => option(value, name)));
  const form = h(
    "form",
    { class: "filters", "aria-label": "Filter the samples", autocomplete: "off", onsubmit: (event) => event.preventDefault() },
    places,
    known && images,
    h("span", { class: "margin", title: "Probability of the right answer less that of the best wrong one, at the step shown" },
      "margin ", bound(0, "Least margin in percent"), " to ", bound(1, "Largest margin in percent"), " %"),
    text,
    order,
  );
  return form;
}

/** Which samples are wanted, in order, and how many of each fate the other filters leave. */
function select(table, wanted, found) {
  const [now, then] = [view.step, before()];
  const inPlace = wanted.kind ? table.tasks.map((task) => task[wanted.kind] === wanted.name) : null;
  const [least, most] = wanted.margin;
  const anyMargin = least <= -100 && most >= 100;
  const counts = Object.fromEntries(Object.keys(FATES).map((fate) => [fate, 0]));
  const list = [];
  for (let sample = 0; sample < table.count; sample += 1) {
    if (inPlace && !inPlace[table.task[sample]]) continue;
    if (wanted.images !== "" && table.images[sample] !== Number(wanted.images)) continue;
    if (!anyMargin) {
      if (table.stateAt(sample, now) >= UNSCORED) continue;
      const margin = table.marginAt(sample, now);
      if (margin < least || margin > most) continue;
    }
    if (wanted.text && !says(table, sample, wanted.text)) continue;
    const fate = fateOf(table, sample, then, now);
    const forgotten = table.forgotten[sample] === 1;
    counts.all += 1;
    if (fate) counts[fate] += 1;
    if (forgotten) counts.forgotten += 1;
    if (wanted.fate === "all" || wanted.fate === fate || (wanted.fate === "forgotten" && forgotten)) list.push(sample);
  }
  if (wanted.order !== "benchmark") {
    const key = wanted.order === "change"
      ? (sample) => Math.abs(table.answerAt(sample, now) - table.answerAt(sample, then))
      : (sample) => -Math.abs(table.marginAt(sample, now));
    const keys = new Map(list.map((sample) => [sample, key(sample)]));
    list.sort((one, other) => keys.get(other) - keys.get(one) || one - other);
  }
  found.list = list;
  found.counts = counts;
}

function says(table, sample, text) {
  return [table.names[sample], table.questions[sample], ...table.texts[sample]].some((part) => part.toLowerCase().includes(text));
}

function fateOf(table, sample, then, now) {
  const [was, is] = [table.stateAt(sample, then), table.stateAt(sample, now)];
  if (was >= UNSCORED || is >= UNSCORED) return null;
  if (was === is) return is === RIGHT ? "right" : "wrong";
  return is === RIGHT ? "gained" : "lost";
}

/** The list: a box that is as high as all rows, of which those in view are there. */
function sampleList(table, found) {
  const inner = h("div", { class: "rows" });
  const element = h("div", { class: "list", tabindex: "0", role: "listbox", "aria-label": "Samples" }, inner);
  const detail = h("article", { class: "detail", "aria-live": "polite" });
  let chosen = 0;
  let open = null;
  function draw() {
    const first = Math.max(0, Math.floor(element.scrollTop / ROW) - 4);
    const shown = found.list.slice(first, first + Math.ceil(element.clientHeight / ROW) + 8);
    inner.style.height = `${found.list.length * ROW}px`;
    inner.replaceChildren(...shown.map((sample, index) => sampleRow(table, sample, first + index, first + index === chosen, pick)));
    if (found.list.length) element.setAttribute("aria-activedescendant", `sample-${chosen}`);
    else element.removeAttribute("aria-activedescendant");
  }
  function pick(index, look = true) {
    chosen = Math.max(0, Math.min(found.list.length - 1, index));
    const top = chosen * ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    if (top + ROW > element.scrollTop + element.clientHeight) element.scrollTop = top + ROW - element.clientHeight;
    draw();
    if (look) {
      open = found.list[chosen];
      detail.replaceChildren(...sampleDetail(table, open));
    }
  }
  element.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  element.addEventListener("keydown", (event) => {
    const page = Math.floor(element.clientHeight / ROW);
    const by = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined && event.key !== "Enter") return;
    event.preventDefault();
    pick(by === undefined ? chosen : Math.max(0, Math.min(found.list.length - 1, chosen + by)));
  });
  new ResizeObserver(draw).observe(element);
  return {
    element,
    detail,
    refresh: () => {
      const at = found.list.indexOf(open);
      chosen = Math.max(0, at);
      if (at < 0) element.scrollTop = 0;
      if (open === null || at < 0) open = found.list[0] ?? null;
      draw();
      detail.replaceChildren(...(open === null ? [h("p", { class: "about" }, "No sample is left by these filters.")] : sampleDetail(table, open)));
    },
  };
}

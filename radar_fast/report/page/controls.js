// The bar that stays in view: which step is shown, what it is compared with, and light or dark.

function controls() {
  const bar = byId("controls");
  bar.addEventListener("submit", (event) => event.preventDefault());
  if (ALL.length > 1) bar.append(...benchmarks());
  if (STEPS.length > 1) bar.append(...stepControls());
  if (!bar.childElementCount) bar.remove();
}

/** Which benchmark is shown; another one is the page read anew. */
function benchmarks() {
  const select = h(
    "select",
    {
      id: "benchmark",
      onchange: () => {
        location.hash = select.value;
        location.reload();
      },
    },
    ALL.map((benchmark, index) => h("option", { value: index, selected: index === CHOSEN }, benchmark.benchmark)),
  );
  return [h("label", { for: "benchmark" }, "Benchmark"), select];
}

function stepControls() {
  const slider = h("input", {
    type: "range",
    id: "step",
    min: 0,
    max: STEPS.length - 1,
    step: 1,
    value: view.step,
    oninput: () => show({ step: Number(slider.value) }),
  });
  const label = h("output", { for: "step", id: "step-label" });
  const against = h(
    "select",
    {
      id: "before",
      onchange: () => show({ before: against.value === "previous" ? null : Number(against.value) }),
    },
    h("option", { value: "previous" }, "the step before"),
    STEPS.map((step, index) => h("option", { value: index }, step.label)),
  );
  const play = h("button", { type: "button", id: "play", onclick: toggle });
  let timer = null;
  function toggle() {
    if (timer) stop();
    else {
      if (view.step === STEPS.length - 1) show({ step: 0 });
      timer = setInterval(advance, Math.max(150, Math.min(700, 8000 / STEPS.length)));
      said();
    }
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    said();
  }
  function advance() {
    if (view.step >= STEPS.length - 1) stop();
    else show({ step: view.step + 1 });
  }
  function said() {
    play.textContent = timer ? "\u23F8\uFE0E" : "\u25B6\uFE0E";
    play.setAttribute("aria-label", timer ? "Stop" : "Play the steps in order");
  }
  slider.addEventListener("pointerdown", () => timer && stop());
  said();
  watch(() => {
    slider.value = view.step;
    slider.setAttribute("aria-valuetext", STEPS[view.step].label);
    label.textContent = STEPS[view.step].label;
    against.value = view.before === null ? "previous" : view.before;
  });
  return [h("label", { for: "step" }, "Step"), play, slider, label, h("span", {}, h("label", { for: "before" }, "against"), " ", against)];
}

function theme() {
  const button = byId("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const said = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", dark() ? "Switch to light colours" : "Switch to dark colours");
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    said();
  });
  system.addEventListener("change", said);
  said();
}

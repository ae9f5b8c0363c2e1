// What the whole page shows at the moment: one step, and the one that it is compared with.

const view = { step: STEPS.length - 1, before: null, measure: "sds" };
const watchers = [];

/** Call `draw` now, and `move` whenever the view changes: a figure that holds mostly what is of no one step says there
    what is, and the rest stays. */
function watch(draw, move = draw) {
  watchers.push(move);
  draw();
}

/** Change the view; `before` null means the step just before. */
function show(changes) {
  Object.assign(view, changes);
  view.step = Math.min(Math.max(view.step, 0), STEPS.length - 1);
  for (const move of watchers) move();
}

/** The step that the shown one is compared with; the same where there is none before it. */
function before() {
  return view.before ?? Math.max(0, view.step - 1);
}

/** A group of what belongs to the shown step, drawn anew without the rest of its figure. */
function moving(draw) {
  const group = s("g", { class: "moving" }, draw());
  group.move = () => group.replaceChildren(...[draw()].flat(2).filter(Boolean));
  return group;
}

/** Draw the moving groups of a box anew, and nothing else of it. */
function moveIn(box) {
  for (const group of box.querySelectorAll("g.moving")) group.move();
}

const drawn = [];

/** Draw into `box` for its width, now and when it changes: text stays readable at any width. */
function drawIn(box, draw) {
  const redraw = () => {
    const width = Math.floor(box.clientWidth);
    if (width > 0) box.replaceChildren(draw(width));
  };
  let last = 0;
  new ResizeObserver(() => {
    if (Math.abs(box.clientWidth - last) > 1) {
      last = box.clientWidth;
      redraw();
    }
  }).observe(box);
  drawn.push(redraw);
  return redraw;
}

// Elements, numbers as text, and marks that do not lean on colour alone. Text from data only ever becomes a text node.

const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes by name, `on*` as listeners, `style` as properties of the object model (the page's policy
    allows no style attributes); children are nodes or text. */
function h(name, attributes = {}, ...children) {
  return dressed(document.createElement(name), attributes, children);
}

/** The same in SVG. */
function s(name, attributes = {}, ...children) {
  return dressed(document.createElementNS(SVG, name), attributes, children);
}

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") for (const [key, part] of Object.entries(value)) element.style.setProperty(key, part);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

const MINUS = "\u2212";

/** 0.8225 -> "0.823"; a dash for nothing. */
function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  return value.toFixed(digits).replace("-", MINUS);
}

function signed(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : (value > 0 ? "+" : MINUS) + text;
}

function percent(value) {
  return value === null || value === undefined ? "\u2013" : `${Math.round(100 * value)}%`;
}

/** 15360 -> "15,360". */
function count(value) {
  return value === null || value === undefined ? "\u2013" : value.toLocaleString("en-US");
}

function interval(low, high, digits = 3) {
  return low === null || low === undefined ? "no interval" : `${number(low, digits)} to ${number(high, digits)}`;
}

/** "1 sample", "2 samples". */
function plural(amount, noun) {
  return `${count(amount)} ${noun}${amount === 1 ? "" : "s"}`;
}

const SHAPES = [
  (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`, // circle
  (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`, // square
  (r) => `M0 ${-1.25 * r}L${1.2 * r} ${r}H${-1.2 * r}z`, // triangle
  (r) => `M0 ${-1.35 * r}L${1.35 * r} 0 0 ${1.35 * r} ${-1.35 * r} 0z`, // diamond
  (r) => `M0 ${1.25 * r}L${1.2 * r} ${-r}H${-1.2 * r}z`, // triangle, down
  (r) => `M${-r} ${-r}L${r} ${r}M${-r} ${r}L${r} ${-r}`, // cross
];
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "", "7 3", "2 3", "9 3 2 3"];
const HUES = 8;

/** How the line number `index` looks: colour, dash and marker all differ, so that any one of them tells it. */
function look(index) {
  return {
    colour: `var(--c${index % HUES})`,
    dash: DASHES[index % DASHES.length],
    shape: SHAPES[index % SHAPES.length],
  };
}

function marker(appearance, x, y, radius, attributes = {}) {
  return s("path", {
    d: appearance.shape(radius),
    transform: `translate(${x} ${y})`,
    fill: appearance.colour,
    stroke: appearance.colour,
    "stroke-width": 1.2,
    ...attributes,
  });
}

/** A line through points [x, y]; null interrupts it. */
function path(points) {
  let text = "";
  let pen = "M";
  for (const point of points) {
    if (point === null) pen = "M";
    else {
      text += `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
      pen = "L";
    }
  }
  return text;
}

/** What fits of a text into so many characters. */
function clipped(text, most) {
  return text.length <= most ? text : `${text.slice(0, Math.max(1, most - 1)).trimEnd()}\u2026`;
}

let widthOf = null;

/** The width of a text in pixels, at the page's font of that size. */
function textWidth(text, size = 12) {
  widthOf ??= document.createElement("canvas").getContext("2d");
  widthOf.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  return widthOf.measureText(text).width;
}

/** What fits of a text into so many pixels. */
function fitted(text, width, size = 12) {
  if (textWidth(text, size) <= width) return text;
  let most = text.length;
  while (most > 1 && textWidth(`${text.slice(0, most).trimEnd()}\u2026`, size) > width) most -= 1;
  return `${text.slice(0, most).trimEnd()}\u2026`;
}

/** Say it to those who listen instead of looking. */
function announce(text) {
  byId("live").textContent = text;
}

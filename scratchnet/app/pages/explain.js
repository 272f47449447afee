// The anatomy of a step, drawn from the numbers that the engine computed.
//
// One cursor runs through the network: an image, a pixel, and a unit of each dense layer. Every
// tensor has some of these as its axes, so the cursor is a place in each of them. Nothing is computed
// here but sums of shown terms and Adam's step, which is taken to the engine's bits.
"use strict";

const shared = JSON.parse(document.getElementById("shared").textContent);
const { axes, sizes, grid, sums, made, cursor } = shared; // sizes.image changes with the step
const kinds = { uint8: Uint8Array, float32: Float32Array, float64: Float64Array };
const round = shared.dtype === "float32" ? Math.fround : Number;

let step; // what is shown: number, scalars, facts, tensors (name -> values), keras (the same)
let param = "W1"; // whose moments are shown
const steps = {}; // those that were unpacked already, by number

// --- from text to numbers -------------------------------------------------------------------------

// Base64 of deflated bytes; the planes of bytes put together again, over those of `like` if given.
async function unpack(text, Kind, like) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = Kind.BYTES_PER_ELEMENT, count = planes.length / size;
  const bytes = new Uint8Array(planes.length);
  for (let i = 0; i < count; i++)
    for (let k = 0; k < size; k++) bytes[i * size + k] = planes[k * count + i];
  if (like) new Uint8Array(like.buffer).forEach((byte, i) => { bytes[i] ^= byte; });
  return new Kind(bytes.buffer);
}

async function load(number) {
  if (steps[number]) return steps[number];
  const told = JSON.parse(document.getElementById(`step-${number}`).textContent);
  const tensors = {}, keras = {};
  for (const [name, { kind, data }] of Object.entries(told.tensors))
    tensors[name] = await unpack(data, kinds[kind]);
  for (const w of params()) Object.assign(tensors, adam(w, tensors, told.scalars));
  for (const [name, data] of Object.entries(told.keras))
    keras[name] = await unpack(data, tensors[name].constructor, tensors[name]);
  return (steps[number] = { ...told, tensors, keras });
}

const params = () => Object.keys(axes).filter((name) => /^[Wb]\d+$/.test(name));

// One step for one parameter, each operation rounded as the engine rounds it: `adam` in reference.py.
function adam(w, tensors, s) {
  const theta = tensors[w], g = tensors["d" + w];
  const m = tensors["m before " + w].slice(), v = tensors["v before " + w].slice();
  const move = theta.slice(), next = theta.slice(), tiny = round(1e-30);
  for (let i = 0; i < theta.length; i++) {
    m[i] += round(round(g[i] - m[i]) * s.one_minus_beta_1);
    if (Math.abs(m[i]) < tiny) m[i] = 0;
    v[i] += round(round(round(g[i] * g[i]) - v[i]) * s.one_minus_beta_2);
    move[i] = round(m[i] * s.alpha) / round(round(Math.sqrt(v[i])) + s.epsilon);
    next[i] = theta[i] - move[i];
  }
  return { ["m " + w]: m, ["v " + w]: v, ["step " + w]: move, ["new " + w]: next };
}

// --- places: an index in a tensor, and where it is drawn -------------------------------------------

const shape = (name) => axes[name].map((axis) => sizes[axis]);
const offset = (name, at) => at.reduce((sum, i, k) => sum * shape(name)[k] + i, 0);
const here = (name) => axes[name].map((axis) => cursor[axis]);
const value = (name, at = here(name)) => step.tensors[name][offset(name, at)];

// As Python writes them; whole images have rows and columns.
const whole = (name) => name === "pixels" || name === "R";
const place = (name, at) => (whole(name)
  ? `[${at[0]}, ${Math.floor(at[1] / grid[1])}, ${at[1] % grid[1]}]` : `[${at.join(", ")}]`);
const shapeOf = (name) => {
  const size = whole(name) ? [sizes.image, ...grid] : shape(name);
  return `(${size.join(", ")}${size.length === 1 ? "," : ""})`;
};

// How a tensor is drawn: `put` takes an index to a picture cell, `get` a cell to an index or null.
function layout(name) {
  const size = shape(name), pixel = axes[name].indexOf("pixel");
  if (size.length === 1) return { wide: size[0], high: 1, put: ([i]) => [i, 0], get: (x) => [x] };
  if (pixel < 0)
    return { wide: size[1], high: size[0], put: ([i, j]) => [j, i], get: (x, y) => [y, x] };
  const tiles = size[1 - pixel], [rows, columns] = grid;
  const across = Math.min(tiles, tiles % 10 ? 8 : 10);
  return {
    wide: across * (columns + 1) - 1,
    high: Math.ceil(tiles / across) * (rows + 1) - 1,
    put(at) {
      const tile = at[1 - pixel], p = at[pixel];
      return [(tile % across) * (columns + 1) + (p % columns),
        Math.floor(tile / across) * (rows + 1) + Math.floor(p / columns)];
    },
    get(x, y) {
      const c = x % (columns + 1), r = y % (rows + 1);
      const tile = Math.floor(y / (rows + 1)) * across + Math.floor(x / (columns + 1));
      if (c === columns || r === rows || tile >= tiles) return null; // between the tiles
      return pixel ? [tile, r * columns + c] : [r * columns + c, tile];
    },
  };
}

// --- drawing --------------------------------------------------------------------------------------

// Five digits, or a whole number as it is: `number` in explain.py.
function number(x) {
  if (Number.isInteger(x) && Math.abs(x) < 1e5) return String(x);
  return Math.abs(Number(x.toPrecision(5))) < 1e-3 ? x.toExponential(4) : x.toPrecision(5);
}

const largest = (values) => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
const colour = (x) => (x < 0 ? [31, 128, 204] : [217, 120, 0]);

function paint(canvas, name) {
  const values = step.tensors[name], plan = layout(name), most = largest(values) || 1;
  canvas.width = plan.wide;
  canvas.height = plan.high;
  const pen = canvas.getContext("2d"), picture = pen.createImageData(plan.wide, plan.high);
  for (let y = 0; y < plan.high; y++)
    for (let x = 0; x < plan.wide; x++) {
      const at = plan.get(x, y), v = at ? values[offset(name, at)] : 0;
      const depth = Math.round(255 * Math.sqrt(Math.abs(v) / most));
      picture.data.set([...colour(v), depth], 4 * (y * plan.wide + x));
    }
  pen.putImageData(picture, 0, 0);
}

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// Up to five places around one, moved inwards at the ends.
function around(at, length) {
  const start = Math.max(0, Math.min(at - 2, length - 5));
  return Array.from({ length: Math.min(5, length) }, (_, i) => start + i);
}

function numbers(name, at) {
  const flat = at.length === 1, size = shape(name);
  const rows = flat ? [0] : around(at[0], size[0]);
  const columns = around(at.at(-1), size.at(-1));
  const head = element("tr", {}, element("td"),
    ...columns.map((j) => element("th", { scope: "col", textContent: j })));
  const body = rows.map((i) => element("tr", {},
    element("th", { scope: "row", textContent: flat ? "" : i }),
    ...columns.map((j) => element("td", {
      textContent: number(value(name, flat ? [j] : [i, j])),
      className: j === at.at(-1) && (flat || i === at[0]) ? "here" : "",
    }))));
  return [element("thead", {}, head), element("tbody", {}, ...body)];
}

// "from Z1 = ...": the entries at the same place that this one was made of.
function origin(name, at) {
  const parts = (made[name] || []).map((part) => {
    const own = axes[part].map((axis) => at[axes[name].indexOf(axis)]);
    return `${part} = ${number(value(part, own))}`;
  });
  return parts.length ? ` from ${parts.join(", ")}` : "";
}

// The terms of a sum, those that are 0 left out, and what they add up to.
function terms(name, at) {
  const { over, left, right, plus } = sums[name];
  const index = (part, i) =>
    axes[part].map((axis) => (axis === over ? i : at[axes[name].indexOf(axis)]));
  const found = [];
  for (let i = 0; i < sizes[over]; i++) {
    const factors = [left, right].filter(Boolean).map((part) => value(part, index(part, i)));
    found.push({ i, factors, term: factors.reduce((a, b) => a * b) });
  }
  const extra = plus ? value(plus, index(plus, 0)) : 0;
  return { over, left, right, plus, found, extra,
    total: found.reduce((sum, { term }) => sum + term, extra) };
}

function termTable(name, at) {
  const { over, left, right, plus, found, extra, total } = terms(name, at);
  const shown = found.filter(({ term }) => term !== 0), most = largest(shown.map((t) => t.term)) || 1;
  const { of } = sums[name];
  const cells = (tag, ...texts) => texts.map((textContent) => element(tag, { textContent }));
  const titles = right ? [over, left, right, "product", ""] : [over, left, ""];
  const bar = (term) => {
    const mark = element("span", { className: "bar-of" });
    mark.style.width = `${(100 * Math.abs(term)) / most}%`;
    mark.style.background = `rgb(${colour(term).join(" ")})`;
    return element("td", {}, mark);
  };
  const rows = shown.map(({ i, factors, term }) => element("tr", {},
    ...cells("th", over === "image" ? `${i}: a ${value("y", [i])}` : i),
    ...cells("td", ...factors.map(number), ...(right ? [number(term)] : [])), bar(term)));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...cells("th", ...titles))),
    element("tbody", {}, ...rows));
  const scroll = element("div", { className: "scroll", tabIndex: 0 }, table);
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", `the terms of ${of}`);
  const apart = Math.abs(total - value(of, at)), none = found.length - shown.length;
  // Each term is rounded once by its product, and by as many sums as there are terms, at most.
  const unit = shared.dtype === "float32" ? 2 ** -24 : 2 ** -52;
  const size = found.reduce((sum, { term }) => sum + Math.abs(term), Math.abs(extra));
  const within = apart <= 1.01 * (found.length + 2) * unit * size;
  const bias = plus ? `, ${plus} adds ${number(extra)}` : "";
  return [scroll,
    element("p", { className: "soft", textContent: `${shown.length} of ${found.length} terms`
      + `${none ? `, the other ${none} are 0` : ""}${bias}.` }),
    element("p", { className: "total", textContent: `Sum ${number(total)}, the engine's ${of} `
      + `${number(value(of, at))}: ${number(apart)} apart, `
      + `${within ? "as rounding allows" : "more than rounding allows"}.` })];
}

// What a figure says of one place: the cursor's, or the one under the mouse.
function tell(figure, at) {
  const name = figure.dataset.tensor, find = (what) => figure.querySelector(what);
  figure.querySelectorAll(".place").forEach((e) => { e.textContent = place(name, at); });
  find(".value").textContent = number(value(name, at));
  const theirs = step.keras[name];
  find(".made").textContent = origin(name, at)
    + (theirs ? `; Keras ${number(theirs[offset(name, at)])}` : "");
  find(".window").replaceChildren(find("caption"), ...numbers(name, at));
  const sum = find(".terms[open] .sum");
  if (sum) sum.replaceChildren(...termTable(name, at));
  const plan = layout(name), [x, y] = plan.put(at), mark = find(".cursor");
  mark.style.left = `${(100 * (x + 0.5)) / plan.wide}%`;
  mark.style.top = `${(100 * (y + 0.5)) / plan.high}%`;
  mark.style.width = `${100 / plan.wide}%`;
  mark.style.height = `${100 / plan.high}%`;
}

// Everything in a figure that a new step changes.
function draw(figure) {
  const name = figure.dataset.tensor, ours = step.tensors[name], theirs = step.keras[name];
  const box = figure.querySelector(".picture"), plan = layout(name);
  box.style.setProperty("--wide", plan.wide);
  box.style.setProperty("--high", plan.high);
  box.classList.toggle("tiled", axes[name].includes("pixel"));
  box.setAttribute("aria-label", `${name}, a heat map: arrow keys move the cursor`);
  paint(box.querySelector("canvas"), name);
  figure.querySelector(".shape").textContent = shapeOf(name);
  figure.querySelector(".largest").textContent = number(largest(ours));
  const line = figure.querySelector(".keras");
  if (line && theirs) {
    let worst = 0;
    ours.forEach((x, i) => {
      if (Math.abs(x - theirs[i]) > Math.abs(ours[worst] - theirs[worst])) worst = i;
    });
    const size = shape(name);
    const at = size.length === 1 ? [worst] : [Math.floor(worst / size[1]), worst % size[1]];
    const say = (what, text) => { line.querySelector(what).textContent = text; };
    say(".theirs", number(theirs[worst]));
    say(".ours", number(ours[worst]));
    say(".worst", `[${at.join(", ")}]`);
    say(".apart", number(Math.abs(ours[worst] - theirs[worst])));
  }
  tell(figure, here(name));
}

const figures = [...document.querySelectorAll(".tensor")];
const names = (axis) => (axis === "image" ? `image ${cursor.image}, a ${value("y")}`
  : axis === "pixel" ? `pixel (${Math.floor(cursor.pixel / grid[1])}, ${cursor.pixel % grid[1]})`
    : `${axis === `unit${shared.dense}` ? "class" : "unit"} ${cursor[axis]}`);

// The cursor moved: every figure is at another place.
function follow() {
  figures.forEach((figure) => tell(figure, here(figure.dataset.tensor)));
  document.querySelector(".path").textContent = `At ${Object.keys(cursor).map(names).join(" → ")}`;
  const n = shared.dense, image = cursor.image;
  const columns = [`Z${n}`, `A${n}`, "softmax", "T", `dZ${n}`, `dZ${n} probabilities`];
  document.querySelector(".head-image").textContent = image;
  document.querySelectorAll(".head tbody tr").forEach((row, k) => {
    row.querySelectorAll("td").forEach((cell, c) => {
      cell.textContent = number(value(columns[c], [image, k]));
    });
  });
  const s = step.scalars, at = here(param);
  const m = value("m " + param, at) / (1 - (1 - s.one_minus_beta_1) ** s.t);
  const v = value("v " + param, at) / (1 - (1 - s.one_minus_beta_2) ** s.t);
  const say = (what, x) => { document.querySelector(what).textContent = number(x); };
  say(".hat-m", m);
  say(".hat-v", v);
  say(".hat-ratio", v ? m / Math.sqrt(v) : 0);
}

const chosen = () => document.querySelector("[name=step]:checked").value;

async function show(number) {
  const loaded = await load(number);
  if (number !== chosen()) return; // another was chosen while this one was unpacked
  step = loaded;
  sizes.image = step.tensors.y.length;
  cursor.image = Math.min(cursor.image, sizes.image - 1);
  document.querySelectorAll("[data-fact]").forEach((e) => {
    e.textContent = step.facts[e.dataset.fact] ?? "";
  });
  figures.forEach(draw);
  follow();
  document.body.dataset.shown = number;
}

// --- hands ----------------------------------------------------------------------------------------

function move(name, at) {
  axes[name].forEach((axis, k) => { cursor[axis] = at[k]; });
  follow();
}

function listen(figure) {
  const box = figure.querySelector(".picture"), name = () => figure.dataset.tensor;
  box.querySelector("img").replaceWith(element("canvas"));
  box.append(element("span", { className: "cursor" }));
  box.tabIndex = 0;
  box.setAttribute("role", "application");
  const under = (event) => {
    const plan = layout(name()), area = box.getBoundingClientRect();
    const part = (where, start, length, cells) =>
      Math.max(0, Math.min(cells - 1, Math.floor(((where - start) / length) * cells)));
    return plan.get(part(event.clientX, area.left, area.width, plan.wide),
      part(event.clientY, area.top, area.height, plan.high));
  };
  box.addEventListener("pointermove", (event) => {
    const at = event.pointerType === "mouse" && under(event);
    if (at) tell(figure, at); // a peek: the cursor stays where it is
  });
  box.addEventListener("pointerleave", () => tell(figure, here(name())));
  box.addEventListener("click", (event) => {
    const at = under(event);
    if (at) move(name(), at);
  });
  box.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const plan = layout(name());
    let [x, y] = plan.put(here(name())), at = null;
    do {
      x += way[0];
      y += way[1];
      if (x < 0 || y < 0 || x >= plan.wide || y >= plan.high) return;
      at = plan.get(x, y);
    } while (!at); // over the gap between two tiles
    move(name(), at);
  });
  figure.querySelector(".terms")?.addEventListener("toggle", () => tell(figure, here(name())));
}

// The moments of another parameter, in the same figures.
function choose(next) {
  for (const figure of figures) {
    const name = figure.dataset.tensor;
    if (!name.endsWith(" " + param)) continue;
    const to = name.slice(0, -param.length) + next;
    figure.dataset.tensor = to;
    figure.querySelector(".name b").textContent = to;
    figure.querySelectorAll(".readout code, .keras").forEach((e) => {
      for (const node of e.childNodes)
        if (node.nodeType === Node.TEXT_NODE) node.data = node.data.replace(name, to);
    });
  }
  param = next;
  figures.forEach(draw);
  follow();
}

function begin() {
  document.body.classList.add("live");
  figures.forEach(listen);
  document.querySelector(".bar").hidden = document.querySelector(".params").hidden = false;
  document.querySelectorAll("[name=step]").forEach((e) => e.addEventListener("change", () => show(e.value)));
  document.querySelectorAll("[name=param]").forEach((e) => e.addEventListener("change", () => choose(e.value)));
  const links = new Map([...document.querySelectorAll(".stages a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    if (isIntersecting) links.get(target.id)?.setAttribute("aria-current", "true");
    else links.get(target.id)?.removeAttribute("aria-current");
  }), { rootMargin: "-45% 0px -45% 0px" });
  document.querySelectorAll(".content > section").forEach((section) => seen.observe(section));
  show(chosen());
}

begin();

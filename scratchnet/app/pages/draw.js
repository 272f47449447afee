/* The page itself: strokes in, and what the network makes of them on the screen.

   Everything hangs on `look`: it makes the image, runs the network forward and shows the answer, the
   units and the pixels. `teach` takes one training step and looks again. The mathematics is in
   network.js, the image in ink.js, what the hand does in pad.js; RUN is the trained network as
   draw.py wrote it. */
"use strict";

const floats = (base64) =>
  new Float32Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
const mapValues = (object, f) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, f(value)]));

const network = new Network(RUN, floats(RUN.theta), mapValues(RUN.slots, floats));
const DENSE = RUN.layers.map((layer, l) => ({ ...layer, l })).filter((l) => l.kind === "Dense");
const HIDDEN = DENSE.slice(0, -1);
const HEAD = DENSE.at(-1);
const DIGITS = Array.from({ length: RUN.classes }, (_, k) => k);

const state = {
  strokes: [], // on the pad
  example: false, // they are an example, which the first stroke of one's own replaces
  own: [], // what was drawn before the example
  x: null, // the image, and the network's tape of it; null for an empty pad
  tape: null,
  why: null, // the digit that was chosen to be explained; null for the answer
  before: null, // probabilities before the last step, until the drawing changes
  unit: null, // [hidden layer, unit] that was chosen
  taken: [], // what each step changed, for undo
  lesson: null, // the last step
};

const $ = (id) => document.getElementById(id);
const make = (tag, options = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), options);
  element.append(...children);
  return element;
};
const percent = (p) => `${(100 * p).toFixed(1)} %`;
const exactly = (p) => (p < 1e-6 ? "under 0.0001 %" : p < 0.001 ? `${size(100 * p)} %` : percent(p));
const article = (k) => (k === 8 ? `an ${k}` : `a ${k}`);
const signed = (v, digits = 2) => (v < 0 ? "−" : "+") + Math.abs(v).toFixed(digits);
const plain = (v, digits = 2) => (v < 0 ? "−" : "") + Math.abs(v).toFixed(digits);
const size = (v) => v.toLocaleString("en", { maximumSignificantDigits: 2 });
const sum = (values) => values.reduce((s, v) => s + v, 0);
const largest = (values) => values.reduce((most, v) => (Math.abs(v) > most ? Math.abs(v) : most), 0);
const argmax = (values) => values.indexOf(Math.max(...values)); // the lowest of ties, as in Keras

// --- looking: from strokes to everything that is shown -------------------------------------------

let due = false;
/** Look once before the next frame, however many points a pen has sent until then. */
function lookSoon() {
  if (!due) requestAnimationFrame(look);
  due = true;
}

function look() {
  due = false;
  showPad();
  const x = state.strokes.length ? centred(inkOf(state.strokes), PAD, RUN.side) : null;
  state.x = x;
  state.tape = x && network.forward(x);
  showAnswer();
  showHidden();
  showUnit();
  showPixels();
  $("labels").querySelectorAll("button").forEach((button) => (button.disabled = !x));
  $("clear").disabled = !x;
  $("undo-stroke").disabled = !x && !state.example;
  $("undo-stroke").textContent = state.example && state.own.length ? "Back to mine" : "Undo stroke";
}

/** What the network says: its answer is the largest output, its probabilities are the loss's. */
function answerOf(tape) {
  const { z, a } = tape[HEAD.l];
  return { z, a, p: ACTIVATIONS.softmax.forward(network.read(tape)), digit: argmax(a) };
}

function showAnswer() {
  const found = state.tape && answerOf(state.tape);
  const chosen = found && (state.why ?? found.digit);
  $("answers").querySelectorAll("label").forEach((row, k) => {
    const [input, , bar, p, z, a] = row.children;
    row.classList.toggle("top", found?.digit === k);
    input.checked = chosen === k;
    input.disabled = !found;
    bar.firstChild.style.width = found ? percent(found.p[k]).replace(" ", "") : 0;
    const was = state.before?.[k] ?? NaN; // a mark, where a step has moved a bar
    bar.lastChild.hidden = !(Math.abs(was - found?.p[k]) > 0.005);
    bar.lastChild.style.left = `${100 * was}%`;
    p.textContent = found ? percent(found.p[k]) : "";
    z.textContent = found ? plain(found.z[k]) : "";
    a.textContent = found ? plain(found.a[k], 4) : "";
  });
  $("reading").textContent = found
    ? `It reads ${article(found.digit)}, at ${percent(found.p[found.digit])}.`
    : "The pad is empty.";
  const equal = found ? DIGITS.filter((k) => found.a[k] === found.a[found.digit]) : [];
  $("head-note").textContent =
    equal.length > 1
      ? `In float32 the outputs of ${equal.join(", ")} are the same, ${found.a[equal[0]]}: the answer is ` +
        `the lowest of them, as in Keras. The logits may still tell them apart.`
      : "";
}

function showHidden() {
  HIDDEN.forEach((layer, h) => {
    const { a } = state.tape?.[layer.l] ?? { a: new Float32Array(layer.outputs) };
    const most = largest(a);
    $(`layer-${h}`).querySelectorAll("button").forEach((button, o) => {
      const share = most ? (100 * Math.abs(a[o])) / most : 0;
      const full = a[o] < 0 ? "--red" : "--blue";
      button.style.background = `color-mix(in srgb, var(${full}) ${share}%, var(--card))`;
      button.setAttribute("aria-label", `unit ${o}: ${plain(a[o])}`);
    });
    const lit = a.filter((v) => v !== 0).length;
    $(`layer-${h}-note`).textContent = state.tape
      ? `${lit} of ${layer.outputs} lit, at most ${plain(most)}`
      : "";
  });
}

function showUnit() {
  $("unit").hidden = !state.unit;
  if (!state.unit) return;
  const [h, o] = state.unit;
  const layer = HIDDEN[h];
  const { kernel, bias } = network.params[layer.l];
  const weights = Float32Array.from({ length: layer.inputs }, (_, i) => kernel[i * layer.outputs + o]);
  paint($("unit-weights"), weights, inputColumns(layer));
  $("unit-weights").setAttribute("aria-label", `the weights that feed unit ${o}`);
  const { z, a } = state.tape?.[layer.l] ?? {};
  const numbers = z ? ` Now z = ${plain(z[o])}, a = ${plain(a[o])}.` : "";
  const laid = h ? "laid out as the layer above" : "one for each pixel";
  $("unit-note").textContent =
    `Hidden layer ${h + 1}, unit ${o}: the ${layer.inputs} weights that feed it, ${laid}, from ` +
    `${plain(Math.min(...weights))} to ${plain(Math.max(...weights))}; bias ${plain(bias?.[o] ?? 0)}.` +
    numbers;
}

/** x, x dz_k/dx and dz_k/dx for the answer k, or the digit that was chosen. */
function showPixels() {
  const blank = new Float32Array(RUN.side ** 2);
  const { x = blank, tape } = state.tape ? state : {};
  const k = tape && (state.why ?? answerOf(tape).digit);
  const slope = tape ? network.pixelGradient(tape, k) : blank;
  const pushed = slope.map((g, i) => g * x[i]);
  paint($("seen"), blank, RUN.side, x);
  paint($("pushed"), pushed, RUN.side, x);
  paint($("slope"), slope, RUN.side);
  $("seen").setAttribute("aria-label", "the image that the network gets");
  $("pushed").setAttribute("aria-label", `pixel times gradient of the logit of ${k ?? "the answer"}`);
  $("slope").setAttribute("aria-label", `gradient of the logit of ${k ?? "the answer"} by each pixel`);
  for (const place of document.querySelectorAll(".which")) place.textContent = k ?? "the answer";
  if (!tape) {
    $("sum").textContent = "";
    return;
  }
  const z = tape[HEAD.l].z[k];
  const ink = sum(pushed);
  const straight = HIDDEN.every((layer) => layer.slopes);
  const rest = straight ? "the biases" : "biases and curvature";
  $("sum").textContent = `All pixels together ${signed(ink)}, ${rest} ${signed(z - ink)}: the logit of ${k} is ${plain(z)}.`;
}

// --- teaching: one training step -----------------------------------------------------------------

/** The optimizers on offer: the run's own, which goes on with its moments, and plain descent. */
const own = RUN.optimizer;
const CHOICES = [
  { ...own, own: true },
  ...[0.1, 0.01, 0.001].map((learning_rate) => ({ kind: "SGD", learning_rate, momentum: 0 })),
];
const named = (choice) =>
  choice.own
    ? `${own.kind} at step ${(network.iterations + 1).toLocaleString("en")}`
    : `SGD, rate ${choice.learning_rate}`;

const snapshot = () => ({
  theta: network.theta.slice(),
  slots: mapValues(network.slots, (slot) => slot.slice()),
  iterations: network.iterations,
});

function restore({ theta, slots, iterations }) {
  network.theta.set(theta);
  Object.keys(slots).forEach((name) => network.slots[name].set(slots[name]));
  network.iterations = iterations;
}

/** One training step on the drawing with this label: forward, loss, backward, update. */
function teach(label) {
  const { x } = state;
  if (!x) return;
  const choice = CHOICES[$("optimizer").value];
  const before = answerOf(network.forward(x));
  const kept = snapshot();
  const loss = network.lossAt(x, label);
  const { tape, grad } = network.gradient(x, label);
  const name = named(choice);
  if (choice.own) network.step(grad);
  else OPTIMIZERS.SGD(network.theta, grad, {}, choice);
  const moved = network.theta.map((w, i) => w - kept.theta[i]);
  state.taken.push(kept);
  state.before = before.p;
  state.lesson = {
    label, name, tape, grad, loss, before,
    lossAfter: network.lossAt(x, label),
    expected: sum(moved.map((d, i) => d * grad[i])),
    largestMove: largest(moved),
  };
  look();
  showLesson();
}

function undo(all) {
  restore(all ? state.taken[0] : state.taken.at(-1));
  state.taken.length = all ? 0 : state.taken.length - 1;
  state.before = state.lesson = null;
  look();
  showLesson();
}

function showLesson() {
  $("undo-step").disabled = $("restore").disabled = !state.taken.length;
  $("undo-step").textContent = state.taken.length > 1 ? `Undo step ${state.taken.length}` : "Undo step";
  CHOICES.forEach((choice, i) => ($("optimizer").options[i].textContent = named(choice)));
  const { lesson } = state;
  $("lesson").hidden = $("outcome").hidden = $("first-order").hidden = !lesson;
  if (!lesson) return;
  const { label, before, grad, tape } = lesson;
  const after = answerOf(network.forward(state.x));
  $("outcome").classList.toggle("good", after.digit === label);
  $("outcome").textContent =
    `Loss ${plain(lesson.loss, 3)} → ${plain(lesson.lossAfter, 3)}, probability of ${label} ` +
    `${exactly(before.p[label])} → ${exactly(after.p[label])}. ` +
    (after.digit === before.digit
      ? `It still reads ${article(after.digit)}.`
      : `It read ${article(before.digit)}, and now reads ${article(after.digit)}.`);
  $("first-order").textContent =
    `${lesson.name[0].toUpperCase()}${lesson.name.slice(1)}. Weights moved by ${size(lesson.largestMove)} at most. ` +
    `Along a straight line, g · Δθ, the loss would have changed by ${signed(lesson.expected, 3)}; ` +
    `it changed by ${signed(lesson.lossAfter - lesson.loss, 3)}.`;
  const grads = network.views(grad);
  const figures = [...DENSE].reverse().map((layer) => gradientFigure(layer, grads[layer.l], tape[layer.l]));
  const first = figures.pop();
  $("gradients").replaceChildren(make("div", {}, ...figures), first);
}

/** A layer's dz (which is db) as a strip, and its dW as tiles, each with its own full colour. */
function gradientFigure(layer, { kernel: dW }, { x, dz }) {
  const [strip, picture] = [make("canvas"), make("canvas")];
  [strip, picture].forEach((canvas) => canvas.setAttribute("role", "img"));
  strip.className = "strip";
  strip.setAttribute("aria-label", `dz of ${layer.name}`);
  picture.setAttribute("aria-label", `dW of ${layer.name}, a tile for each unit`);
  paint(strip, dz, dz.length);
  paint(picture, ...tiles(dW, layer));
  const place = layer === HEAD ? "The head" : `Hidden layer ${HIDDEN.indexOf(layer) + 1}`;
  const off = dz.filter((v) => v === 0).length;
  const dead = off ? `; ${off} of ${dz.length} units get none` : "";
  const from = layer === HEAD && network.loss.reads === "Z" ? "dz = p − t" : "dz";
  return make("figure", {},
    make("figcaption", {}, make("b", {}, place), ` (${layer.name}): db = ${from}, ${size(largest(dz))} at most${dead}`),
    strip,
    make("figcaption", {}, make("b", {}, `dW (${layer.inputs} × ${layer.outputs})`),
      ` = ${layer === DENSE[0] ? "x" : "a below"} times dz, ${size(largest(dW))} at most: a tile for each unit`),
    picture);
}

// --- the page, once ------------------------------------------------------------------------------

function build() {
  const digitButtons = (place, text, act) =>
    $(place).append(...DIGITS.map((k) => {
      const button = make("button", { textContent: k, onclick: () => act(k) });
      button.setAttribute("aria-label", `${text} ${article(k)}`);
      return button;
    }));
  digitButtons("examples", "draw", (k) => redraw(EXAMPLES[k], true));
  digitButtons("labels", "it is", teach);
  $("head-name").textContent = `${HEAD.activation}(z)`;
  $("answers").append(...DIGITS.map((k) => make("label", { className: "answer" },
    make("input", { type: "radio", name: "why", onchange: () => {
      state.why = k;
      showAnswer();
      showPixels();
    } }),
    make("span", { textContent: k }),
    make("span", { className: "bar" }, make("i"), make("b", { hidden: true })),
    ...["p", "z", "a"].map(() => make("span", { className: "number" })))));
  $("hidden-layers").append(...HIDDEN.map(hiddenLayer));
  $("optimizer").append(...CHOICES.map((_, value) => make("option", { value })));
  $("clear").onclick = () => redraw([]);
  $("undo-stroke").onclick = () => redraw(state.example ? state.own : state.strokes.slice(0, -1));
  $("undo-step").onclick = () => undo(false);
  $("restore").onclick = () => undo(true);
  $("source").textContent = $("network-js").textContent.trim();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    look();
    showLesson();
  });
  addEventListener("resize", lookSoon);
  redraw(EXAMPLES[7], true); // so that there is something to look at
}

/** The units of a layer as a grid of buttons; arrow keys move within it. */
function hiddenLayer(layer, h) {
  const columns = columnsOf(layer.outputs);
  const grid = make("div", { className: "units", id: `layer-${h}` });
  grid.setAttribute("role", "toolbar");
  grid.setAttribute("aria-label", `The units of hidden layer ${h + 1}`);
  grid.style.setProperty("--columns", columns);
  const choose = (o) => {
    const off = state.unit?.[0] === h && state.unit[1] === o;
    state.unit = off ? null : [h, o];
    for (const button of document.querySelectorAll(".units button")) button.ariaPressed = "false";
    grid.children[o].ariaPressed = String(!off);
    showUnit();
  };
  for (let o = 0; o < layer.outputs; o++)
    grid.append(make("button", { tabIndex: o ? -1 : 0, ariaPressed: "false", onclick: () => choose(o) }));
  grid.addEventListener("keydown", (event) => {
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    const next = grid.children[[...grid.children].indexOf(event.target) + dx + dy * columns];
    if (!ARROWS[event.key] || !next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  const title = make("h3", {}, `Hidden layer ${h + 1}: `, make("span", { className: "note", id: `layer-${h}-note` }));
  return make("div", { className: "layer" }, title, grid);
}

/* The pad: what a mouse, a finger, a pen or the arrow keys do becomes strokes.

   A change of the drawing ends what the page has said about the old one; the page is then looked at
   again, in draw.js. */
"use strict";

const pad = $("pad");
const pen = { down: false, x: 0.5, y: 0.5, shown: false }; // the keyboard's

/** The pad at the screen's own resolution, with the keyboard's pen on it. */
function showPad() {
  const side = Math.round(pad.clientWidth * devicePixelRatio);
  pad.width = pad.height = side;
  const context = pad.getContext("2d");
  const css = getComputedStyle(document.documentElement);
  context.strokeStyle = css.getPropertyValue("--ink");
  drawStrokes(context, state.strokes, side);
  if (!pen.shown) return;
  context.strokeStyle = context.fillStyle = css.getPropertyValue("--ring");
  context.lineWidth = side / 100;
  context.beginPath();
  context.arc(pen.x * side, pen.y * side, (PEN * side) / 2, 0, 2 * Math.PI);
  if (pen.down) context.fill();
  else context.stroke();
}

/** Whatever changes the drawing ends what was said about the old one. */
function redraw(strokes, example = false) {
  if (example && !state.example) state.own = state.strokes; // so that it can be had back
  Object.assign(state, { strokes, example, why: null, before: null, lesson: null });
  pen.down = pen.down && strokes.length > 0;
  showLesson();
  lookSoon();
}

const beginStroke = (point) => redraw([...(state.example ? [] : state.strokes), [point]]);

/** The last stroke goes on, unless someone has cleared it or taken an example meanwhile. */
function goOn(point) {
  if (!state.example) state.strokes.at(-1)?.push(point);
  lookSoon();
}

const pointOf = (event) => {
  const box = pad.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};
let pointer = null; // the one that draws: a second finger does not
pad.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button !== 0) return;
  pointer = event.pointerId;
  pad.setPointerCapture(pointer);
  pen.shown = pen.down = false;
  beginStroke(pointOf(event));
});
pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const points = event.getCoalescedEvents?.() ?? [];
  (points.length ? points : [event]).forEach((one) => goOn(pointOf(one)));
});
for (const end of ["pointerup", "pointercancel"])
  pad.addEventListener(end, (event) => {
    if (event.pointerId === pointer) pointer = null;
  });

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
pad.addEventListener("keydown", (event) => {
  const arrow = ARROWS[event.key];
  if (arrow) {
    const within = (v) => Math.min(0.95, Math.max(0.05, v));
    pen.x = within(pen.x + arrow[0] / 25);
    pen.y = within(pen.y + arrow[1] / 25);
    if (pen.down) goOn([pen.x, pen.y]);
  } else if (event.key === " ") {
    pen.down = !pen.down;
    if (pen.down) beginStroke([pen.x, pen.y]);
  } else if (event.key === "Delete" || event.key === "Backspace") redraw([]);
  else return;
  event.preventDefault();
  pen.shown = true;
  lookSoon();
});
pad.addEventListener("blur", () => {
  pen.shown = pen.down = false;
  lookSoon();
});

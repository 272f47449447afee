/* From strokes of a pen to an image as MNIST's makers would have made it.

   A stroke is a list of points [x, y] on a pad from 0 to 1, downwards and to the right. Images are
   Float32Arrays of rows, 0 for paper to 255 for ink. As in images.py the ink is brought to a box of
   20 x 20 pixels, antialiased and keeping its shape, and whole pixels move its centre of mass to the
   middle of 28 x 28. The pen is as wide as MNIST's there, on whatever part of the pad one drew. Read network.js for what happens next. */
"use strict";

const PAD = 280; // pixels on a side of the drawing that is scaled down
const PEN = 0.085; // its width on the pad that one sees

/** Draw strokes with a round pen onto a square canvas of any size, smoothed between points. */
function drawStrokes(context, strokes, side, pen = PEN) {
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = pen * side;
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [x * side, y * side]);
    context.beginPath();
    if (points.every(([x, y]) => x === points[0][0] && y === points[0][1])) {
      // A stroke without a length is a dot: some browsers give it no round ends.
      context.fillStyle = context.strokeStyle;
      context.arc(...points[0], (pen * side) / 2, 0, 2 * Math.PI);
      context.fill();
      continue;
    }
    context.moveTo(...points[0]);
    for (let i = 1; i < points.length - 1; i++) {
      const [x, y] = points[i];
      const [nextX, nextY] = points[i + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(...points[points.length - 1]);
    context.stroke();
  }
}

/** A pen of this width leaves strokes of 20 * 0.15 / 1.15 = 2.6 pixels in the box: MNIST's median. */
function penFor(strokes) {
  const points = strokes.flat();
  const extents = [0, 1].map((axis) => {
    const places = points.map((point) => point[axis]);
    return Math.max(...places) - Math.min(...places);
  });
  return Math.max(0.15 * Math.max(...extents), PEN / 4); // a dot has no extent
}

/** Strokes as ink on a pad of PAD x PAD pixels. */
function inkOf(strokes) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = PAD;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  drawStrokes(context, strokes, PAD, penFor(strokes));
  const { data } = context.getImageData(0, 0, PAD, PAD);
  return Float32Array.from({ length: PAD * PAD }, (_, i) => data[4 * i + 3]); // opacity
}

/** The smallest box with all the ink of a square image: left, top, width, height; or null. */
function boxOf(ink, side) {
  let [left, top, right, bottom] = [side, side, -1, -1];
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++)
      if (ink[y * side + x] > 0) {
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
  return right < 0 ? null : [left, top, right - left + 1, bottom - top + 1];
}

/** To the nearest whole number; halves to the even one, as NumPy and Python do. */
const rounded = (v) => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));

/** How much a pixel counts at a distance x, in new pixels, from the middle of the new one: Hamming's
 *  window over the sinc, as Pillow's HAMMING has it. */
function hamming(x) {
  if (x === 0 || Math.abs(x) >= 1) return x === 0 ? 1 : 0;
  const angle = Math.PI * x;
  return (Math.sin(angle) / angle) * (0.54 + 0.46 * Math.cos(angle));
}

/** Rows of pixels to rows of `to`, each a weighted mean of those around it; and transposed, so that
 *  doing it twice scales both ways. */
function shrunk(rows, to) {
  const from = rows[0].length;
  const step = Math.max(from / to, 1); // a dot is enlarged
  return Array.from({ length: to }, (_, i) => {
    const middle = (i + 0.5) * (from / to) - 0.5;
    const first = Math.max(0, Math.ceil(middle - step));
    const count = Math.min(from - 1, Math.floor(middle + step)) - first + 1;
    const weights = Array.from({ length: count }, (_, j) => hamming((first + j - middle) / step));
    const total = weights.reduce((sum, w) => sum + w, 0);
    return rows.map((row) => weights.reduce((sum, w, j) => sum + w * row[first + j], 0) / total);
  });
}

/** Ink on a square of `from` pixels a side to an image of `side`: the longer side of its box to 20
 *  of 28 pixels, the darkest to 255, the centre of mass to the middle. No ink, an empty image. */
function centred(ink, from, side) {
  const image = new Float32Array(side * side);
  const box = boxOf(ink, from);
  if (!box) return image;
  const [left, top, width, height] = box;
  const scale = rounded((side * 20) / 28) / Math.max(width, height);
  const [columns, rows] = [width, height].map((length) => Math.max(1, rounded(length * scale)));
  const cut = Array.from({ length: height }, (_, y) => {
    const start = (top + y) * from + left;
    return ink.subarray(start, start + width);
  });
  const grey = shrunk(shrunk(cut, columns), rows);
  const darkest = Math.max(...grey.flat());
  const cells = grey.flatMap((row, y) => row.map((v, x) => ({ x, y, v: rounded((255 * v) / darkest) })));
  const mass = cells.reduce((sum, cell) => sum + cell.v, 0);
  const [right, down] = [["x", columns], ["y", rows]].map(([axis, length]) => {
    const middle = cells.reduce((sum, cell) => sum + cell.v * cell[axis], 0) / mass;
    return Math.max(0, Math.min(rounded(side / 2 - middle), side - length)); // all ink stays inside
  });
  for (const { x, y, v } of cells) image[(y + down) * side + x + right] = v;
  return image;
}

/** Ten digits as a pen draws them, in hundredths of the pad. */
const EXAMPLES = [
  "50,17 36,23 28,40 28,61 36,77 50,83 64,77 72,60 72,40 64,23 48,17",
  "54,17 50,83",
  "31,35 36,22 50,17 64,23 67,37 58,54 43,70 29,81 46,80 72,80",
  "32,24 48,17 63,23 64,36 56,46 44,49 58,52 68,62 65,75 52,83 36,80 29,72",
  "40,18 35,36 30,54 50,53 73,51 / 62,22 60,50 57,84",
  "69,20 40,20 36,45 52,42 66,50 68,66 58,79 42,83 30,76",
  "60,17 44,31 34,50 32,68 42,82 56,82 66,71 62,59 50,55 38,61 33,70",
  "30,22 50,21 71,19 62,40 52,61 46,84",
  "63,27 50,18 38,26 40,40 52,49 64,60 64,74 52,83 38,77 36,63 48,50 60,40 63,27",
  "66,33 56,20 42,22 35,36 42,48 56,47 66,34 66,50 62,68 57,84",
].map((digit) =>
  digit
    .split(" / ")
    .map((stroke) => stroke.split(" ").map((point) => point.split(",").map((v) => v / 100))),
);

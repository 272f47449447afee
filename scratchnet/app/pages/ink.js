/* From strokes of a pen to an image as MNIST's makers would have made it.

   A stroke is a list of points [x, y] on a pad from 0 to 1, downwards and to the right. Images are
   Float32Arrays of rows, 0 for paper to 255 for ink. As in images.py the ink is scaled to LENGTH of
   28 pixels, antialiased and keeping its shape, with its centre of mass in the middle of 28 x 28. The
   pen is as wide as MNIST's there, on whatever part of the pad one drew. Read network.js for what
   happens next. */
"use strict";

const PAD = 280; // pixels on a side of the drawing that is scaled down
const PEN = 0.085; // its width on the pad that one sees
const LENGTH = 18.75; // of a digit in a field of 28 pixels: images.LENGTH says why

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

/** A pen of this width leaves strokes of LENGTH * 0.16 / 1.16 = 2.6 pixels: MNIST's median. */
function penFor(strokes) {
  const points = strokes.flat();
  const extents = [0, 1].map((axis) => {
    const places = points.map((point) => point[axis]);
    return Math.max(...places) - Math.min(...places);
  });
  return Math.max(0.16 * Math.max(...extents), PEN / 4); // a dot has no extent
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

/** The pixels whose middles lie in each of `side` equal parts of a window, as [first, end): what
 *  Pillow's BOX takes the mean of, which keeps a window's ends in single precision. */
function parts(start, end, side) {
  const [low, high] = [Math.fround(start), Math.fround(end)];
  const each = Math.fround(high - low) / side;
  const half = Math.max(each, 1) / 2; // a dot is enlarged
  return Array.from({ length: side }, (_, i) => {
    const middle = low + (i + 0.5) * each;
    return [Math.floor(middle - half - 0.5) + 1, Math.floor(middle + half - 0.5) + 1];
  });
}

/** Ink on a square of `from` pixels a side to an image of `side`: the longer side of its box to
 *  LENGTH of 28 pixels, the darkest to 255, the centre of mass to the middle of pixel 14 of 28, or as
 *  near as leaves all ink on the image. No ink, an empty image. */
function centred(ink, from, side) {
  const image = new Float32Array(side * side);
  const box = boxOf(ink, from);
  if (!box) return image;
  const [left, top, width, height] = box;
  const each = Math.max(width, height) / ((LENGTH * side) / 28);
  const margin = Math.ceil(side * each); // of paper around the box, on which the window lies
  let [mass, right, down] = [0, 0, 0];
  const value = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : ink[(top + y) * from + left + x]);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      [mass, right, down] = [mass + value(x, y), right + x * value(x, y), down + y * value(x, y)];
  const [columns, rows] = [[right / mass, width], [down / mass, height]].map(([mean, length]) => {
    const wanted = margin + 0.5 + mean - (side / 2 + 0.5) * each;
    const start = Math.min(Math.max(wanted, margin + length - side * each), margin);
    return parts(start, start + side * each, side);
  });
  for (const [i, [y0, y1]] of rows.entries())
    for (const [j, [x0, x1]] of columns.entries()) {
      let sum = 0;
      for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) sum += value(x - margin, y - margin);
      image[i * side + j] = sum / ((x1 - x0) * (y1 - y0));
    }
  const darkest = Math.max(...image);
  return image.map((v) => rounded((255 * v) / darkest));
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

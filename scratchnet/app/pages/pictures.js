/* Numbers as pictures, in the colours of the style sheet: blue above 0, orange below, faint near it.

   A layer's units stand in rows, and whatever belongs to them, activations, weights or gradients, is
   laid out in the same way. Read draw.js for what is shown. */
"use strict";

/** A colour of the style sheet, in its light or dark form, as [red, green, blue]. */
function colour(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

/** Numbers as pixels, row by row: 0 is the ground, the largest size the full colour, and NaN a line
 *  between tiles. `ink`, from 0 to 255, shows through as a shade below them. */
function paint(canvas, values, columns, ink = null) {
  const [ground, plus, minus, line, shade] = ["--card", "--blue", "--red", "--line", "--ink"].map(colour);
  const mix = (below, above, share) => below.map((c, j) => c + share * (above[j] - c));
  const most = largest(values);
  canvas.width = columns;
  canvas.height = Math.ceil(values.length / columns);
  const picture = new ImageData(canvas.width, canvas.height);
  values.forEach((v, i) => {
    const below = ink ? mix(ground, shade, (most ? 0.15 : 1) * (ink[i] / 255)) : ground;
    const seen = Number.isNaN(v) ? line : mix(below, v < 0 ? minus : plus, most && Math.abs(v) / most);
    picture.data.set([...seen, 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** How many units stand in a row: a layer is about twice as wide as high. */
const columnsOf = (count) => Math.max(5, Math.ceil(Math.sqrt(2 * count)));

/** In how many columns the inputs of a layer are laid out: as the image, or as the units below. */
const inputColumns = (layer) =>
  layer === DENSE[0] && layer.inputs === RUN.side ** 2 ? RUN.side : columnsOf(layer.inputs);

/** A kernel (I, O) as O tiles, each the weights that feed one unit, laid out as what is below. */
function tiles(W, layer) {
  const { inputs: I, outputs: O } = layer;
  const [across, wide] = [columnsOf(O), inputColumns(layer)];
  const zoom = Math.ceil(28 / wide); // so that the lines between small tiles are thin too
  const [width, height] = [wide, Math.ceil(I / wide)].map((length) => length * zoom + 1);
  const columns = across * width - 1;
  const picture = new Float32Array(columns * (Math.ceil(O / across) * height - 1)).fill(NaN);
  for (let o = 0; o < O; o++)
    for (let y = 0; y < height - 1; y++)
      for (let x = 0; x < width - 1; x++) {
        const i = Math.floor(y / zoom) * wide + Math.floor(x / zoom);
        const place = (Math.floor(o / across) * height + y) * columns + (o % across) * width + x;
        if (i < I) picture[place] = W[i * O + o];
      }
  return [picture, columns];
}

"""The page of a training step: one file, drawn from the very numbers that the engine computed.

Each step is embedded as plain data that `explain.js` draws; the first is set in as pictures and
numbers too, for those without JavaScript. Of Adam only what goes in is embedded: the page takes the
step itself, to the engine's bits. Steps are left out, and named, where the page would grow beyond
`LIMIT`. The words stand in `explain.html`.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
import zlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from scratchnet.app import pages
from scratchnet.app.anatomy import Explanation, Step
from scratchnet.app.pages.highlighting import highlighted
from scratchnet.engines import Array

LIMIT = 4_900_000
"""Bytes that a page may have: what a mail takes, and a phone."""

COMPUTED = ("m ", "v ", "step ", "new ")
"""Tensors that the page computes, by how their names begin."""

NEGATIVE, POSITIVE = (31, 128, 204), (217, 120, 0)
"""Blue and orange: told apart by everyone, and seen on light ground and dark."""


class Sum(NamedTuple):
    """How an entry of tensor `of` is a sum over an axis: of left * right, or of left, plus one."""

    of: str
    over: str
    left: str
    right: str | None = None
    plus: str | None = None


def html(explanation: Explanation, command: list[str] | None = None) -> str:
    """The page, of at most `LIMIT` bytes where the first step alone does not go beyond."""
    kept = list(explanation.steps)
    context = _context(explanation) | {"command": command}
    page = pages.render("explain.html", kept=kept, left_out=[], **context)
    while len(page.encode()) > LIMIT and len(kept) > 1:
        del kept[-2 if len(kept) > 2 else -1]  # the first and the last say the most
        left_out = [step.number for step in explanation.steps if step not in kept]
        page = pages.render("explain.html", kept=kept, left_out=left_out, **context)
    return page


def _context(explanation: Explanation) -> dict[str, Any]:
    """What the template needs beside the choice of steps."""
    first = explanation.steps[0]
    cursor = cursor_of(first)
    return {
        "title": "The anatomy of a training step",
        "e": explanation,
        "first": first,
        "dense": layers_of(first),
        "parameters": sum(first.tensors[name].array.size for name in parameters(first)),
        "operations": {operation.key: operation for operation in first.operations},
        "facts": facts(first, explanation),
        "packed": {step.number: pack(step, explanation) for step in explanation.steps},
        "shared": shared(first, explanation, cursor),
        "head": head_rows(first, cursor),
        "hats": hats_at(first, cursor),
        "figure": cache(lambda name: figure(name, first, cursor)),
        "highlighted": highlighted,
        "math": math_ml,
        "number": number,
    }


def parameters(step: Step) -> list[str]:
    """`W1`, `b1`, `W2` ..."""
    return [f"{kind}{n}" for n in range(1, layers_of(step) + 1) for kind in "Wb"]


def layers_of(step: Step) -> int:
    """How many dense layers there are."""
    return max(operation.dense for operation in step.operations)


# --- as data --------------------------------------------------------------------------------------


def encode(array: Array, like: Array | None = None) -> str:
    """Base64 of the deflated bytes, all first bytes of the numbers before all second ones.

    With `like`, of what differs from it bit by bit: near-equal arrays take next to nothing.
    """
    raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    if like is not None:
        raw = raw ^ np.frombuffer(np.ascontiguousarray(like).tobytes(), np.uint8)
    planes = raw.reshape(-1, array.itemsize).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def pack(step: Step, explanation: Explanation) -> str:
    """A step as JSON: the tensors that go in, what Keras has otherwise, the words that change."""
    from markupsafe import Markup

    tensors = {}
    for name, (array, _) in step.tensors.items():
        if name.startswith(COMPUTED) and "before" not in name:
            continue
        plain = array if array.dtype.kind == "f" else array.astype(np.uint8)
        tensors[name] = {"kind": plain.dtype.name, "data": encode(plain)}
    theirs = {
        name: encode(step.keras[name].astype(array.dtype), array)
        for name, (array, _) in step.tensors.items()
        if name in step.keras
    }
    told = {
        "number": step.number,
        "scalars": step.scalars,
        "tensors": tensors,
        "keras": theirs,
        "facts": facts(step, explanation),
    }
    return Markup(json.dumps(told).replace("<", "\\u003c"))


def shared(step: Step, explanation: Explanation, cursor: dict[str, int]) -> dict[str, Any]:
    """What holds for every step: axes and shapes, and what each number is made of."""
    return {
        "axes": {name: tensor.axes for name, tensor in step.tensors.items()},
        "sizes": axis_lengths(step),
        "grid": step.tensors["pixels"].array.shape[1:],
        "sums": {name: made._asdict() for name, made in sums(step).items()},
        "made": made_of(step),
        "dense": layers_of(step),
        "cursor": cursor,
        "dtype": explanation.dtype,
        "image": explanation.image,
    }


def axis_lengths(step: Step) -> dict[str, int]:
    """How long each axis is."""
    return {
        axis: length
        for name, (array, axes) in step.tensors.items()
        for axis, length in zip(axes, with_one_pixel_axis(array, axes).shape, strict=True)
    }


def with_one_pixel_axis(array: Array, axes: tuple[str, ...]) -> Array:
    """An array with one axis for each name: the rows and columns of images become pixels."""
    return array.reshape(*array.shape[: len(axes) - 1], -1)


def sums(step: Step) -> dict[str, Sum]:
    """Every product of the step, entry by entry; for a parameter that of its gradient."""
    found = {}
    for n in range(1, layers_of(step) + 1):
        inputs, axis = (f"A{n - 1}", f"unit{n - 1}") if n > 1 else ("X", "pixel")
        found[f"Z{n}"] = Sum(f"Z{n}", axis, inputs, f"W{n}", f"b{n}")
        found[f"W{n}"] = found[f"dW{n}"] = Sum(f"dW{n}", "image", inputs, f"dZ{n}")
        found[f"b{n}"] = found[f"db{n}"] = Sum(f"db{n}", "image", f"dZ{n}")
        if n > 1:
            found[f"dA{n - 1}"] = Sum(f"dA{n - 1}", f"unit{n}", f"dZ{n}", f"W{n}")
    return found


def made_of(step: Step) -> dict[str, list[str]]:
    """The tensors whose entry at the same place makes an entry."""
    count = layers_of(step)
    found = {"R": ["pixels"], f"dZ{count}": ["softmax", "T", "share"]}
    for n in range(1, count + 1):
        found[f"A{n}"] = [f"Z{n}"]
        if n < count:
            found[f"dZ{n}"] = [f"dA{n}", f"Z{n}"]
        for w in (f"W{n}", f"b{n}"):
            found[f"m {w}"] = [f"m before {w}", f"d{w}"]
            found[f"v {w}"] = [f"v before {w}", f"d{w}"]
            found[f"step {w}"] = [f"m {w}", f"v {w}"]
            found[f"new {w}"] = [w, f"step {w}"]
    return {name: parts for name, parts in found.items() if name in step.tensors}


def cursor_of(step: Step) -> dict[str, int]:
    """A path through the net worth looking at: the largest gradients, and whose label made them."""
    of = {name: with_one_pixel_axis(*tensor) for name, tensor in step.tensors.items()}
    pixel, unit = (int(i) for i in np.unravel_index(np.argmax(np.abs(of["dW1"])), of["dW1"].shape))
    image = int(np.argmax(np.abs(of["X"][:, pixel] * of["dZ1"][:, unit])))
    cursor = {"image": image, "pixel": pixel, "unit1": unit}
    for n in range(2, layers_of(step)):
        unit = int(np.argmax(np.abs(of[f"dW{n}"][unit])))
        cursor[f"unit{n}"] = unit
    return cursor | {f"unit{layers_of(step)}": int(of["y"][image])}


# --- as pictures and numbers ----------------------------------------------------------------------


def number(value: Any) -> str:
    """Five digits, or a whole number as it is; `explain.js` writes them the same way.

    >>> [number(x) for x in (0.0, 0.5, -12.3456789, 3.14159e-7, 255)]
    ['0', '0.50000', '-12.346', '3.1416e-7', '255']
    """
    value = float(value)
    if value.is_integer() and abs(value) < 1e5:
        return str(int(value))
    rounded = abs(float(f"{value:.4e}"))
    text = f"{value:#.5g}" if rounded >= 1e-3 else f"{value:.4e}"
    return re.sub(r"e([+-])0", r"e\1", text)


def across(tiles: int) -> int:
    """How many tiles stand in a row.

    >>> across(50), across(32), across(1)
    (10, 8, 1)
    """
    return min(tiles, 8 if tiles % 10 else 10)


def picture(array: Array, axes: tuple[str, ...], grid: tuple[int, int]) -> Array:
    """The numbers as one picture (rows, columns), NaN between the tiles of images."""
    values = with_one_pixel_axis(array, axes).astype(np.float64)
    if values.ndim == 1:
        return values[None]
    if "pixel" not in axes:
        return values
    tiles = values if axes[1] == "pixel" else values.T
    rows, columns = grid
    wide = across(len(tiles))
    high = math.ceil(len(tiles) / wide)
    sheet = np.full((high * (rows + 1) - 1, wide * (columns + 1) - 1), np.nan)
    for i, tile in enumerate(tiles):
        top, left = (rows + 1) * (i // wide), (columns + 1) * (i % wide)
        sheet[top : top + rows, left : left + columns] = tile.reshape(grid)
    return sheet


def signed_png(values: Array) -> str:
    """A data URI: orange above 0, blue below, the deeper the larger, and 0 not there at all."""
    from PIL import Image

    largest = np.nanmax(np.abs(values)) or 1
    depth = np.sqrt(np.nan_to_num(np.abs(values)) / largest)
    colours = np.where((values < 0)[..., None], NEGATIVE, POSITIVE)
    alpha = np.round(255 * depth)[..., None]
    drawn = Image.fromarray(np.concatenate([colours, alpha], axis=-1).astype(np.uint8), "RGBA")
    place = io.BytesIO()
    drawn.save(place, "PNG")
    return "data:image/png;base64," + base64.b64encode(place.getvalue()).decode()


def figure(name: str, step: Step, cursor: dict[str, int]) -> dict[str, Any]:
    """What the template needs for one tensor of the first step."""
    array, axes = step.tensors[name]
    values, at = with_one_pixel_axis(array, axes), tuple(cursor[axis] for axis in axes)
    drawn = picture(array, axes, step.tensors["pixels"].array.shape[1:])
    return {
        "name": name,
        "shape": shape_of(array),
        "dtype": array.dtype.name,
        "png": signed_png(drawn),
        "width": drawn.shape[1],
        "height": drawn.shape[0],
        "tiled": "pixel" in axes,
        "largest": number(np.max(np.abs(values))),
        "window": window(values, at),
        "columns": window_of(at[-1], values.shape[-1]),
        "at": at,
        "place": index_text(axes, at, step.tensors["pixels"].array.shape[1:], array.ndim),
        "value": number(values[at]),
        "keras": difference_from_keras(step, name),
        "sum": sums(step).get(name),
    }


def shape_of(array: Array) -> str:
    return f"({', '.join(map(str, array.shape))}{',' if array.ndim == 1 else ''})"


def index_text(
    axes: tuple[str, ...], at: tuple[int, ...], grid: tuple[int, int], axes_shown: int
) -> str:
    """An index as Python would write it; of an image with row and column."""
    pairs = zip(axes, at, strict=True)
    spread = [
        divmod(i, grid[1]) if axis == "pixel" and axes_shown > len(axes) else (i,)
        for axis, i in pairs
    ]
    return f"[{', '.join(str(i) for part in spread for i in part)}]"


def window_of(at: int, length: int, wide: int = 5) -> list[int]:
    """Up to five places around one, moved inwards at the ends."""
    start = max(0, min(at - wide // 2, length - wide))
    return list(range(start, min(length, start + wide)))


def window(values: Array, at: tuple[int, ...]) -> list[tuple[int, list[tuple[str, bool]]]]:
    """The numbers around a place: rows of (number, whether it is the place)."""
    table = values if values.ndim == 2 else values[None]
    row = at[0] if values.ndim == 2 else 0
    columns = window_of(at[-1], table.shape[1])
    return [
        (i, [(number(table[i, j]), (i, j) == (row, at[-1])) for j in columns])
        for i in window_of(row, len(table))
    ]


def difference_from_keras(step: Step, name: str) -> dict[str, str] | None:
    """How far Keras's tensor is from ours at most, and where."""
    if name not in step.keras:
        return None
    (array, axes), theirs = step.tensors[name], step.keras[name]
    ours, theirs = (
        with_one_pixel_axis(array, axes),
        with_one_pixel_axis(theirs.astype(array.dtype), axes),
    )
    apart = np.abs(ours.astype(np.float64) - theirs)
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(apart), apart.shape))
    return {
        "apart": number(apart[worst]),
        "at": str(list(worst)),
        "ours": number(ours[worst]),
        "theirs": number(theirs[worst]),
    }


def head_rows(step: Step, cursor: dict[str, int]) -> list[list[str]]:
    """For each class what the head has for the image at hand, as the table of the first story."""
    n, image = layers_of(step), cursor["image"]
    columns = [step.tensors[name].array[image] for name in head_columns(n)]
    return [[number(value) for value in row] for row in zip(*columns, strict=True)]


def head_columns(n: int) -> list[str]:
    return [f"Z{n}", f"A{n}", "softmax", "T", f"dZ{n}", f"dZ{n} probabilities"]


def hats_at(step: Step, cursor: dict[str, int]) -> dict[str, str]:
    """`hats` of the weight at the cursor."""
    at = cursor["pixel"], cursor["unit1"]
    m, v = (float(step.tensors[f"{name} W1"].array[at]) for name in "mv")
    return hats(m, v, step.scalars)


def hats(m: float, v: float, scalars: dict[str, float]) -> dict[str, str]:
    """m and v with the bias correction, and their quotient: the step in learning rates."""
    t = scalars["t"]
    m /= 1 - (1 - scalars["one_minus_beta_1"]) ** t
    v /= 1 - (1 - scalars["one_minus_beta_2"]) ** t
    return {"m": number(m), "v": number(v), "ratio": number(m / math.sqrt(v) if v else 0.0)}


# --- as words -------------------------------------------------------------------------------------


def facts(step: Step, explanation: Explanation) -> dict[str, str]:
    """Sentences that hold for this step only, by the operation that they stand in."""
    of, s = {name: tensor.array for name, tensor in step.tensors.items()}, step.scalars
    size, n = len(of["y"]), layers_of(step)
    classes = of[f"Z{n}"].shape[1]
    right = int(np.sum(np.argmax(of[f"A{n}"], axis=1) == of["y"]))
    batch = f"{size} training images" if explanation.image is None else "one test image alone"
    said = {
        "batch": f"B = {size}",
        "pixels": f"Step {step.number:,}: {batch}; the network reads {right} of {size} correctly.",
        "loss": f"The loss of this batch is {number(step.loss)}. Guessing evenly among {classes} "
        f"classes would give log {classes} = {number(math.log(classes))}.",
        "alpha": f"Here t = {int(s['t']):,}, the learning rate is {s['learning_rate']:g}, and "
        f"alpha is {number(s['alpha'])}.",
        "head": f"Loss of this batch, read as logits (what was trained): "
        f"{number(step.readings['logits'])}; as sigmoids over their sum (Keras on JAX or PyTorch): "
        f"{number(step.readings['probabilities'])}; the sigmoids taken for logits: "
        f"{number(step.readings['as_logits'])}.",
    }
    for layer in range(1, n):
        said[f"dead{layer}"] = dead(of[f"Z{layer}"], of[f"dA{layer}"], layer)
    if "loss" in step.keras:
        theirs = float(step.keras["loss"])
        said["loss"] += f" Keras: {number(theirs)}, {number(abs(theirs - step.loss))} apart."
    if step.apart is not None:
        said["new"] = (
            f"The run's own engine took this step too: its weights are at most "
            f"{number(step.apart)} from these."
        )
    return said


def dead(Z: Array, dA: Array, layer: int) -> str:
    """What relu stops: units that are off for the whole batch, and one entry as an example."""
    off = Z <= 0
    units = np.flatnonzero(off.all(axis=0))
    share = f"{np.sum(off):,} of {off.size:,} entries are 0, because z is not above 0 there."
    where = "on this whole batch" if len(Z) > 1 else "on this one image"
    if len(units):
        names = ", ".join(map(str, units[:6])) + (" ..." if len(units) > 6 else "")
        which = f"Unit {names} is" if len(units) == 1 else f"Units {names} are"
        return (
            f"{share} {which} dead {where}: z is at most "
            f"{number(Z[:, units].max())}, so this column of dZ{layer}, of "
            f"dW{layer} and of db{layer} is exactly 0, and only Adam's memory of earlier "
            "gradients still moves those weights."
        )
    if not off.any():
        return share
    worst = np.unravel_index(np.argmax(np.abs(dA) * off), off.shape)
    image, unit = (int(i) for i in worst)
    return (
        f"{share} No unit is dead {where}, but for image {image} unit {unit} is off: "
        f"z = {number(Z[worst])}, so dA = {number(dA[worst])} is stopped, and that image has no "
        "say in the unit's weights."
    )


@cache
def math_ml(latex: str, display: str = "block") -> Any:
    """An equation as MathML, which browsers draw by themselves."""
    from latex2mathml.converter import convert
    from markupsafe import Markup

    return Markup(convert(latex, display=display))

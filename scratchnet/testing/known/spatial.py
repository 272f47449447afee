"""Convolution and pooling over NCHW, NHWC or single images, by plain loops, with their slips."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.known.layers import Case, Known
from scratchnet.testing.known.stops import Point, Stops, gradient_of


class Windows(NamedTuple):
    """Where the windows of a layer lie on its padded input."""

    size: tuple[int, ...]
    stride: int
    pad: int

    def places(self, outputs: tuple[int, ...]) -> Iterator[tuple[int, int, slice, slice]]:
        for i, j in itertools.product(range(outputs[0]), range(outputs[1])):
            a, b = i * self.stride, j * self.stride
            yield i, j, slice(a, a + self.size[0]), slice(b, b + self.size[1])


LAYOUTS = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 3, 1, 2)}
"""How a layout is turned into NCHW."""
KERNELS = {"FCHW": (0, 1, 2, 3), "HWCF": (3, 2, 0, 1)}


def _padded(x: Array, pad: int) -> Array:
    return np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))


def _fitting(size: int, kernel: int, outputs: int) -> Iterator[tuple[int, int]]:
    for stride, pad in itertools.product((1, 2, 3), range(kernel)):
        if size + 2 * pad >= kernel and (size + 2 * pad - kernel) // stride + 1 == outputs:
            yield stride, pad


def _as4(x: Array, layout: str) -> Array:
    if x.ndim == 2:
        return x[None, None]
    if x.ndim == 3:
        return x[:, None]
    return np.transpose(x, LAYOUTS[layout])


def convolution(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """Cross-correlation with a kernel of four axes, or of two for single images."""
    arrays = [*case.inputs, *case.learned]
    x = arrays[0] if arrays else ""
    kernels = [n for n in arrays[1:] if point[n].ndim in (2, 4)]
    if not kernels or point[x].ndim < 2:
        return
    for w, layout, order in itertools.product(kernels, LAYOUTS, KERNELS):
        if point[x].ndim != 4 and layout != "NCHW":
            continue
        biases = [n for n in arrays[1:] if n != w]
        if len(biases) > 1:
            continue
        yield from _convolutions(point, y, x, w, next(iter(biases), None), layout, order)


def _convolutions(
    point: Point, y: Array, x: str, w: str, b: str | None, layout: str, order: str
) -> Iterator[Known]:
    kernel = point[w][None, None] if point[w].ndim == 2 else np.transpose(point[w], KERNELS[order])
    if y.ndim != point[x].ndim:
        return
    shape, out = _as4(point[x], layout).shape, _as4(y, layout).shape
    if shape[1] != kernel.shape[1] or out[1] != kernel.shape[0]:
        return
    heights = list(_fitting(shape[2], kernel.shape[2], out[2]))
    for stride, pad in heights:
        if (stride, pad) in _fitting(shape[3], kernel.shape[3], out[3]):
            yield _convolution(x, w, b, layout, order, Windows(kernel.shape[2:], stride, pad), out)


def _convolution(
    x: str, w: str, b: str | None, layout: str, order: str, windows: Windows, out: tuple[int, ...]
) -> Known:
    def run(p: Point, turned: bool) -> Array:
        kernel = p[w][None, None] if p[w].ndim == 2 else np.transpose(p[w], KERNELS[order])
        kernel = kernel[:, :, ::-1, ::-1] if turned else kernel
        padded = _padded(_as4(p[x], layout), windows.pad)
        z = np.zeros((len(padded), *out[1:]), np.result_type(padded, kernel))
        for i, j, rows, columns in windows.places((out[2], out[3])):
            z[:, :, i, j] = np.einsum("nchw,fchw->nf", padded[:, :, rows, columns], kernel)
        z = z + (0 if b is None else p[b].reshape(1, -1, 1, 1))
        if p[x].ndim < 4:
            return z.reshape(z.shape[0], *z.shape[2:]) if p[x].ndim == 3 else z[0, 0]
        return np.transpose(z, np.argsort(LAYOUTS[layout]))

    def forward(p: Point, stop: Stops) -> Array:
        return run(p, False)

    def not_turned(p: Point, dy: Array) -> Point:
        return {x: gradient_of(lambda q, stop: run(q, True), {x: p[x]} | p, dy)[x]}

    def overwritten(p: Point, dy: Array) -> Point:
        kernel = p[w][None, None] if p[w].ndim == 2 else np.transpose(p[w], KERNELS[order])
        dz = _as4(dy, layout)
        padded = _padded(np.zeros_like(_as4(p[x], layout)), windows.pad)
        for i, j, rows, columns in windows.places((out[2], out[3])):
            padded[:, :, rows, columns] = np.einsum("nf,fchw->nchw", dz[:, :, i, j], kernel)
        return {x: _back(padded, windows.pad, p[x], layout)}

    return Known(forward, {"kernel not turned": not_turned, "windows overwrite": overwritten})


def _back(padded: Array, pad: int, like: Array, layout: str) -> Array:
    cut = padded[:, :, pad : padded.shape[2] - pad, pad : padded.shape[3] - pad]
    if like.ndim < 4:
        return cut.reshape(like.shape)
    return np.transpose(cut, np.argsort(LAYOUTS[layout]))


def pooling(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """Maxima or means of windows."""
    if len(case.inputs) != 1 or case.learned or point[case.inputs[0]].ndim != y.ndim or y.ndim < 2:
        return
    (x,) = case.inputs
    for layout in LAYOUTS if y.ndim == 4 else ("NCHW",):
        shape, out = _as4(point[x], layout).shape, _as4(y, layout).shape
        if shape[:2] != out[:2] or shape == out:
            continue
        for k in range(2, shape[2] + 1):
            for stride, pad in _fitting(shape[2], k, out[2]):
                if pad == 0 and (stride, pad) in _fitting(shape[3], k, out[3]):
                    for kind in ("max", "mean"):
                        yield _pooling(x, layout, Windows((k, k), stride, 0), out, kind)


def _pooling(x: str, layout: str, windows: Windows, out: tuple[int, ...], kind: str) -> Known:
    def forward(p: Point, stop: Stops) -> Array:
        image = _as4(p[x], layout)
        z = np.zeros((len(image), *out[1:]), p[x].dtype)
        for i, j, rows, columns in windows.places((out[2], out[3])):
            part = image[:, :, rows, columns]
            z[:, :, i, j] = part.max(axis=(2, 3)) if kind == "max" else part.mean(axis=(2, 3))
        if p[x].ndim < 4:
            return z.reshape((z.shape[0], *z.shape[2:])) if p[x].ndim == 3 else z[0, 0]
        return np.transpose(z, np.argsort(LAYOUTS[layout]))

    def passed(p: Point, dy: Array, adds: bool, weight: str) -> Point:
        image, dz = _as4(p[x], layout), _as4(dy, layout)
        made = np.zeros_like(image)
        for i, j, rows, columns in windows.places((out[2], out[3])):
            part, one = image[:, :, rows, columns], dz[:, :, i, j][:, :, None, None]
            if weight == "max":
                term = one * (part == part.max(axis=(2, 3), keepdims=True))
            else:
                term = (
                    one * np.ones(part.shape) * (1 / part[0, 0].size if weight == "mean" else 1.0)
                )
            made[:, :, rows, columns] = made[:, :, rows, columns] + term if adds else term
        return {x: _back(made, 0, p[x], layout)}

    slips = {"windows overwrite": lambda p, dy: passed(p, dy, False, kind)}
    if kind == "mean":
        slips["window size forgotten"] = lambda p, dy: passed(p, dy, True, "ones")
    else:
        slips["every maximum counts whole"] = lambda p, dy: passed(p, dy, True, "ones")
    return Known(forward, slips)

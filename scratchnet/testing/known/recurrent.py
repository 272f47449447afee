"""Recurrent cells and sequences: tanh(x Wx + h Wh + b), and LSTMs with gates in any order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scratchnet.engines import Array, reference
from scratchnet.testing.known.layers import Case, Known, stopped
from scratchnet.testing.known.stops import Point, Stops

sigmoid = reference.sigmoid


class CellWeights(NamedTuple):
    """The names of the matrices and of the bias of a cell, and whether they are transposed."""

    Wx: str
    Wh: str
    b: str | None
    turned: bool


def _weights(point: Point, names: list[str], D: int, H: int) -> Iterator[CellWeights]:
    """Matrices by their shapes, gates of H side by side."""
    matrices = [n for n in names if point[n].ndim == 2 and min(point[n].shape) >= 1]
    for Wx, Wh in itertools.permutations(matrices, 2):
        rest = [n for n in names if n not in (Wx, Wh)]
        if len(rest) > 1:
            continue
        for turned in (False, True):
            a, c = (point[n].shape[::-1] if turned else point[n].shape for n in (Wx, Wh))
            if a[0] == D and c[0] == H and a[1] == c[1] and a[1] in (H, 4 * H):
                yield CellWeights(Wx, Wh, next(iter(rest), None), turned)


def _linear(p: Point, x: Array, h: Array, w: CellWeights) -> Array:
    U, W = (p[n].T if w.turned else p[n] for n in (w.Wx, w.Wh))
    return x @ U + h @ W + (0 if w.b is None else p[w.b].reshape(1, -1))


def cells(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """One step: (x, h) -> h', or (x, h, c) -> h', c' one after the other."""
    states = [n for n in case.inputs if point[n].ndim == 2]
    names = [*case.inputs, *case.learned]
    for x, h in itertools.permutations(states, 2):
        if len(point[x]) != len(point[h]):
            continue
        D, H = point[x].shape[1], point[h].shape[1]
        rest = [n for n in names if n not in (x, h)]
        for w in _weights(point, rest, D, H):
            if point[w.Wx].size == D * H:
                yield _cell(x, h, w)
        for c in (n for n in rest if point[n].shape == point[h].shape):
            for w in _weights(point, [n for n in rest if n != c], D, H):
                if point[w.Wx].size == 4 * D * H:
                    yield from _long_short(x, h, c, w, H)


def _cell(x: str, h: str, w: CellWeights) -> Known:
    Wx, Wh, b, turned = w

    def forward(p: Point, stop: Stops) -> Array:
        state = stop("state", p[h])
        return np.tanh(_linear(p, p[x], state, w))

    def sloped(p: Point, dy: Array) -> Point:
        U, W = (p[n].T if turned else p[n] for n in (Wx, Wh))
        made = {x: dy @ U.T, h: dy @ W.T, Wx: p[x].T @ dy, Wh: p[h].T @ dy}
        made |= {n: made[n].T for n in (Wx, Wh) if turned}
        return made | ({} if b is None else {b: dy.sum(0).reshape(p[b].shape)})

    def not_transposed(p: Point, dy: Array) -> Point:
        state = np.tanh(_linear(p, p[x], p[h], w))
        return {h: (dy * (1 - state**2)) @ (p[Wh].T if turned else p[Wh])}

    return Known(
        forward, {"slope of the state forgotten": sloped, "W not transposed": not_transposed}
    )


def _long_short(x: str, h: str, c: str, w: CellWeights, H: int) -> Iterator[Known]:
    for order in itertools.permutations("ifog"):

        def forward(p: Point, stop: Stops, order: tuple[str, ...] = order) -> Array:
            z = _linear(p, p[x], p[h], w)
            after, cell = _gates(z, p[c], order, H, stop)
            return np.concatenate([after.ravel(), cell.ravel()])

        yield Known(forward, stopped(forward, cell_path_left_out=("through tanh",)))


def _gates(
    z: Array, c: Array, order: tuple[str, ...], H: int, stop: Stops, t: int = 0
) -> tuple[Array, Array]:
    gate = {name: z[:, k * H : (k + 1) * H] for k, name in enumerate(order)}
    i, f, o, g = sigmoid(gate["i"]), sigmoid(gate["f"]), sigmoid(gate["o"]), np.tanh(gate["g"])
    cell = f * stop("cell", c, t) + i * g
    return o * np.tanh(stop("through tanh", cell, t)), cell


def sequences(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """A whole sequence (N, T, D) or (T, N, D) -> every state, or the last one."""
    long = [n for n in case.inputs if point[n].ndim == 3]
    if len(long) != 1 or y.ndim < 2:
        return
    (x,) = long
    H = y.shape[-1]
    names = [n for n in (*case.inputs, *case.learned) if n != x]
    starts = [None, *(n for n in names if point[n].ndim == 2 and point[n].shape[1] == H)]
    for h, time in itertools.product(starts, (1, 0)):
        rest = [n for n in names if n != h]
        for w in _weights(point, rest, point[x].shape[2], H):
            if point[w.Wx].size == point[x].shape[2] * H:
                yield _sequence(x, h, w, time, H, y.ndim == 2)
            else:
                yield from _lstm_sequence(x, h, w, time, H, y.ndim == 2)


def _start(p: Point, x: str, h: str | None, time: int, H: int) -> Array:
    return np.zeros((p[x].shape[1 - time], H)) if h is None else p[h]


def _sequence(x: str, h: str | None, w: CellWeights, time: int, H: int, last: bool) -> Known:
    def forward(p: Point, stop: Stops) -> Array:
        state, states = _start(p, x, h, time, H), []
        for t in range(p[x].shape[time]):
            before = stop("recurrence", state, t) if t else state
            state = np.tanh(_linear(p, np.take(p[x], t, axis=time), before, w))
            states.append(state)
        return state if last else np.stack(states, axis=time)

    return Known(forward, stopped(forward, recurrence_left_out=("recurrence",)))


def _lstm_sequence(
    x: str, h: str | None, w: CellWeights, time: int, H: int, last: bool
) -> Iterator[Known]:
    for order in itertools.permutations("ifog"):

        def forward(p: Point, stop: Stops, order: tuple[str, ...] = order) -> Array:
            state, states = _start(p, x, h, time, H), []
            cell = np.zeros_like(state)
            for t in range(p[x].shape[time]):
                before = stop("recurrence", state, t) if t else state
                z = _linear(p, np.take(p[x], t, axis=time), before, w)
                state, cell = _gates(z, cell, order, H, stop, t)
                states.append(state)
            return state if last else np.stack(states, axis=time)

        yield Known(
            forward,
            stopped(
                forward,
                recurrence_left_out=("recurrence",),
                cell_path_left_out=("through tanh",),
                recurrence_of_the_cell_left_out=("cell",),
            ),
        )

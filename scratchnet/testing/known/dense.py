"""Dense layers and the engine's activations, with the museum's bugs planted into the engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from scratchnet.engines import Array, Engine, reference
from scratchnet.testing.known.layers import Case, Known, Wrong
from scratchnet.testing.known.stops import Point, Stops
from scratchnet.testing.museum import EAGER, Bug, of_part, planted

Solve = Callable[[Point, Array, Point], dict[str, Wrong]]
ACTIVATIONS = reference.ENGINE.activations


def dense(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """f(x W + b), W as (I, O) or (O, I), samples in rows or in columns; or f(x) alone."""
    for x in case.inputs[:2]:
        rest = [n for n in (*case.inputs, *case.learned) if n != x]
        if point[x].ndim == 1 and not rest and point[x].shape == y.shape:
            for f in ACTIVATIONS:
                yield _layer(f, x, None, None, False, False)
        if point[x].ndim != 2 or y.ndim != 2:
            continue
        if not rest:
            for f, columns in itertools.product(ACTIVATIONS, (False, True)):
                yield _layer(f, x, None, None, False, columns)
        for W in (n for n in rest if point[n].ndim == 2):
            flat = [n for n in rest if n != W]
            if len(flat) > 1:
                continue
            b = next(iter(flat), None)
            for f, turned, columns in itertools.product(ACTIVATIONS, (False, True), (False, True)):
                yield _layer(f, x, W, b, turned, columns)


def _layer(f: str, x: str, W: str | None, b: str | None, turned: bool, columns: bool) -> Known:
    def rows(array: Array) -> Array:
        return np.ascontiguousarray(array.T) if columns else array

    def parts(p: Point) -> tuple[Array, Array | None, Array | None]:
        weight = None if W is None else np.ascontiguousarray(p[W].T if turned else p[W])
        return rows(p[x]), weight, None if b is None else p[b].reshape(-1)

    def forward(p: Point, stop: Stops) -> Array:
        X, weight, bias = parts(p)
        if weight is not None and (
            weight.shape[0] != X.shape[1] or (bias is not None and bias.size != weight.shape[1])
        ):
            return np.array(np.nan)  # fmt: skip
        Z = X if weight is None else reference.dense(X, weight, bias)
        return rows(ACTIVATIONS[f].forward(Z.copy()))

    def by(engine: Engine, p: Point, dy: Array, eager: float = 0.0) -> Point:
        X, weight, bias = parts(p)
        g = engine.activations[f]
        if weight is None:
            return {x: rows(g.backward(rows(dy), X, g.forward(X.copy())))}
        Z = reference.dense(X, weight, bias)
        dZ = g.backward(rows(dy), Z, g.forward(Z.copy()))
        dW, db = np.zeros_like(weight), None if bias is None else np.zeros_like(bias)
        dX = np.asarray(engine.dense_backward(dZ, X, weight, dW, db, True))
        if eager:
            dX = dX + (eager - EAGER) / EAGER * (dX - dZ @ weight.T)
        made: dict[str, Any] = {x: rows(dX), str(W): dW.T if turned else dW}
        return made | ({} if b is None or db is None else {b: db.reshape(p[b].shape)})

    def solve(p: Point, dy: Array, got: Point) -> dict[str, Wrong]:
        """The learning rate of a layer that updates itself before it gives dX."""
        if W is None:
            return {}
        right, moved = by(reference.ENGINE, p, dy)[x], by(planted("dX after the update"), p, dy)[x]
        along = (moved - right) / EAGER
        if got[x].shape != right.shape or not np.any(along):
            return {}
        rate = float(np.vdot(along, got[x] - right) / np.vdot(along, along))
        engine = planted("dX after the update")
        return {"dX after the update": lambda q, d: by(engine, q, d, rate)} if rate else {}

    bugs = [bug for bug in of_part("activation") if activation_of(bug) == f]
    if W is not None:
        bugs += [bug for bug in of_part("dense") if bug.name != "dX after the update"]
    slips: dict[str, Wrong] = {bug.name: partial(by, planted(bug.name)) for bug in bugs}
    return Known(forward, slips, solve)


def activation_of(bug: Bug) -> str:
    """The activation whose derivative a bug spoils."""
    return "softmax" if bug.setting.head == "softmax" else bug.setting.hidden

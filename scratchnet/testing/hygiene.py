"""What right code may do and should not: written inputs, lost dtypes, accepted nonsense, overflow.

Each law looks at raw passes, without the copies that the gradient check makes, and says what it saw
through `tell`: a remark, or a failure under `strict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from scratchnet.engines import Array, reference
from scratchnet.testing.subjects.subject import Point, Subject, quiet, split

Tell = Callable[..., None]
"""(law, what, arrays to show, likely bug)."""

FAR = (-1000.0, -40.0, 40.0, 1000.0)
TINY_STEP = 2.0**-20


def written(subject: Subject, point: Point, dy: Array, tell: Tell) -> None:
    """Forward and backward read their inputs, and backward the parameters too."""
    law = "inputs not written to"
    with quiet():
        args = subject.prepared(point)
        before = [np.array(arg) if isinstance(arg, np.ndarray) else None for arg in args]
        done = subject.style.call(args)
        for at, name in _changed(subject, args, before):
            y = subject.output(point)
            over = point[name].shape == y.shape if name in point else False
            looks = (
                over and np.allclose(args[at], y) and np.allclose(y, reference.sigmoid(point[name]))
            )
            bug = "sigmoid overwrites Z" if looks else None
            tell(law, f"forward changes {name}", {name: before[at], f"{name} after": args[at]}, bug)
            return
        dys = split(dy, done.outputs)
        given = [d.copy() for d in dys]
        subject.style.pull(done, dys)
        for at, name in _changed(subject, args, before):
            tell(law, f"backward changes {name}", {name: before[at], f"{name} after": args[at]})
        for d, old in zip(dys, given, strict=True):
            if not np.array_equal(d, old):
                tell(law, "backward changes dY", {"dY": old, "dY after": d})
        for name, parameter in subject.parameters.items():
            if not subject.updates and not np.array_equal(parameter.now(), point[name]):
                shown = {name: point[name], f"{name} after": parameter.now()}
                tell(law, f"{name} is another after backward", shown)
    subject.state.restore()


def _changed(subject: Subject, args: list[Any], before: list[Any]) -> Iterator[tuple[int, str]]:
    names = subject.style.arguments
    for at, old in enumerate(before):
        if old is not None and not np.array_equal(args[at], old, equal_nan=True):
            called = {place: name for name, place in subject.inputs.items()}
            yield at, called.get(at, names[at] if at < len(names) else f"x{at}")


def dtype(subject: Subject, point: Point, dy: Array, tell: Tell) -> None:
    """float32 in, float32 out."""
    small = {name: value.astype(np.float32) for name, value in point.items()}
    if not small:
        return
    single = subject.copy()
    single.given = [
        a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
        for a in subject.given
    ]
    kinds = {"output": single.output(small).dtype}
    kinds |= {f"d{n}": g.dtype for n, g in single.gradients(small, dy.astype(np.float32)).items()}
    other = {name: str(kind) for name, kind in kinds.items() if kind != np.float32}
    if other:
        listed = ", ".join(f"{name} {kind}" for name, kind in other.items())
        tell("dtype kept", f"float32 goes in, and out comes {listed}", other)


def nonsense(subject: Subject, point: Point, dy: Array, tell: Tell) -> None:
    """One feature too many is refused by what multiplies with a matrix."""
    first = next(iter(subject.inputs), None)
    if first is None or not any(point[name].ndim == 2 for name in subject.parameters):
        return
    features = 0 if subject.columns else -1
    shape = list(point[first].shape)
    shape[features] += 1
    wide = np.ones(shape)
    try:
        y = subject.output({**point, first: wide})
    except Exception:
        return
    shown = {first: wide, **{n: point[n] for n in subject.parameters}, "output": y}
    tell("bad input refused", "samples of one feature too many are taken without an error", shown)


def far(subject: Subject, point: Point, dy: Array, tell: Tell) -> None:
    """Finite at -1000 and 1000."""
    for name in subject.inputs:
        there = {**point, name: np.resize(np.array(FAR), point[name].shape)}
        try:
            y = subject.output(there)
            got = subject.gradients(there, dy)
        except Exception:
            return
        shown = {name: there[name], "output": y} | {f"d{k}": v for k, v in got.items()}
        bad = [n for n, v in shown.items() if not np.isfinite(v).all()]
        if bad:
            tell("finite far out", f"{', '.join(bad)} is not finite at -1000 or 1000", shown)
            return


def slope_at_0(subject: Subject, point: Point, dy: Array, tell: Tell) -> None:
    """Where the function of one array has a kink at 0 and is 0 below it, its slope there is 0."""
    if subject.parameters or len(subject.inputs) != 1:
        return
    (name,) = subject.inputs
    zero = {name: np.zeros_like(point[name])}
    step = {name: zero[name] + TINY_STEP}
    y, above, below = (subject.output(at) for at in (zero, step, {name: -step[name]}))
    if (
        y.shape != point[name].shape
        or np.any(y)
        or np.any(below)
        or not np.allclose(above, TINY_STEP)
    ):
        return
    slope = subject.gradients(zero, np.ones_like(y))[name]
    if np.any(slope):
        what = f"the slope at 0 is {slope.flat[0]:g}; TensorFlow's and PyTorch's relu take 0"
        bug = "relu slope 1 at 0" if np.all(slope == 1) else None
        tell("slope at 0", what, {name: zero[name], f"d{name}": slope}, bug)


LAWS = {
    "inputs not written to": written,
    "dtype kept": dtype,
    "bad input refused": nonsense,
    "slope at 0": slope_at_0,
    "finite far out": far,
}

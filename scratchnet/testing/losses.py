"""Targets for somebody's loss: labels, one-hot rows or numbers, whichever it takes.

A function whose arguments are called y, t, y_true or labels is asked on predictions and targets.
Which kind it takes is tried; whether it reads probabilities is seen from what it does outside
(0, 1). All of it can be said: targets=, domain=.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.draws import Domain, is_shape
from scratchnet.testing.subjects import names
from scratchnet.testing.subjects.names import plain
from scratchnet.testing.subjects.options import Options, SubjectError
from scratchnet.testing.subjects.resolve import forward_of
from scratchnet.testing.subjects.subject import Subject

Generator = np.random.Generator


def _labels(p: Array, rng: Generator) -> Array:
    return rng.integers(0, max(p.shape[-1], 2), p.shape[:-1] or (1,))


def _onehot(p: Array, rng: Generator) -> Array:
    if p.ndim < 2 or p.shape[-1] == 1:
        return _binary(p, rng)
    return np.eye(p.shape[-1])[_labels(p, rng)]


def _binary(p: Array, rng: Generator) -> Array:
    bits = rng.integers(0, 2, p.size)
    bits[:2] = (1, 0)[: p.size]  # both kinds, whatever the seed
    return bits.reshape(p.shape).astype(np.float64)


KINDS: dict[str, Callable[[Array, Generator], Array]] = {
    "onehot": _onehot,
    "labels": _labels,
    "column": lambda p, rng: _labels(p, rng)[..., None],
    "binary": _binary,
    "signs": lambda p, rng: 2 * _binary(p, rng) - 1,
    "numbers": lambda p, rng: np.asarray(rng.normal(0, 2, p.shape)),
    "columns": lambda p, rng: _onehot(p.T, rng).T,
}
"""Targets for predictions p (B, K): `targets=` takes one of these names, an array, or a shape."""

TRIED = ("onehot", "labels", "column", "binary")


class Trial(NamedTuple):
    """Which kind of targets, all arguments of forward, and where among them the targets stand."""

    kind: str
    args: list[Any]
    targets_at: tuple[int, ...]


def with_targets(
    subject: Any, inputs: list[Any], options: Options, rng: Generator
) -> Iterator[Trial]:
    """The arguments of forward with targets among them, the likeliest first."""
    said = options.targets
    place = _target_place(subject, options, len(inputs))
    if options.targets_first is not None:
        place = 0 if options.targets_first else 1
    if options.activation or (said is None and place is None):
        yield Trial("", inputs, ())
        return
    p = inputs[0]
    kinds = [said] if said is not None else list(TRIED)
    if said is None and _takes_signs(subject):
        kinds.insert(0, "signs")
    for kind in kinds:
        if isinstance(kind, str):
            if kind not in KINDS:
                raise ValueError(
                    f"targets={kind!r}: expected one of {', '.join(KINDS)}, or an array."
                )
            t = KINDS[kind](p, rng)
        else:
            t = np.asarray(rng.normal(0, 2, kind)) if is_shape(kind) else np.array(kind)
        args = list(inputs)
        at = 1 if place is None else place
        args.insert(at, t)
        yield Trial(kind if isinstance(kind, str) else "given", args, (at,))


def _target_place(subject: Any, options: Options, given: int) -> int | None:
    """Where forward wants targets that were not handed over."""
    forward = forward_of(subject, options)
    wanted = names.required(forward) if forward is not None else []
    wanted = wanted[1:] if wanted[:1] == ["ctx"] else wanted
    by_place, by_name = options.extra_arguments()
    wanted = [name for name in wanted[: len(wanted) - len(by_place)] if name not in by_name]
    if len(wanted) != given + 1 or given != 1:
        return None
    fits = [i for i, name in enumerate(wanted) if plain(name) in names.TARGETS]
    if not fits:
        return None
    return fits[-1] if plain(wanted[0]) not in names.TARGETS - {"y"} else 0


MARGIN = ("hinge", "svm", "perceptron", "margin", "exponential")


def _takes_signs(subject: Any) -> bool:
    one = subject[0] if isinstance(subject, tuple) else subject
    name = getattr(one, "__name__", type(one).__name__).lower()
    return any(word in name for word in MARGIN)


# --- how its value is read ------------------------------------------------------------------------


def readings_of(bound: Subject) -> Iterator[Subject]:
    """A loss that gives a number a sample: its gradient may be that of the sum or of the mean."""
    y = bound.output(bound.start())
    shares = [1.0] if y.ndim == 0 else dict.fromkeys([1.0, float(len(y)), float(y.size)])
    for share in shares:
        other = bound.copy()
        other.share = share
        if share != 1:
            other.notes = [*bound.notes, f"read as the mean of {y.shape} losses"]
        yield other


def domain_of(bound: Subject, name: str) -> Domain:
    """All numbers, or (0, 1) for a loss that is flat or not finite beyond both ends of it."""
    start = bound.start()

    def at(value: float) -> Array:
        point = start | {name: np.full(start[name].shape, value)}
        try:
            return bound.output(point)
        except Exception:
            return np.array(np.nan)

    def flat(one: float, other: float) -> bool:
        a, b = at(one), at(other)
        return not (np.isfinite(a).all() and np.isfinite(b).all()) or np.array_equal(a, b)

    below, above = flat(-1.5, -2.5), flat(2.5, 3.5)
    inside = not flat(0.3, 0.6)
    if inside and below and above:
        return Domain(0.0, 1.0)
    if inside and below and not np.isfinite(at(-1.5)).all():
        return Domain(0.0, 1.0)
    return Domain()


def not_targets(tried: list[SubjectError]) -> SubjectError:
    """No kind of targets was taken."""
    said = "; ".join(str(error).split("\n")[0] for error in tried)
    return SubjectError(
        "no kind of targets was taken",
        looked=f"targets as {', '.join(TRIED)}",
        found=said[:400],
        say=f"targets=, one of {', '.join(KINDS)}, or an array",
    )

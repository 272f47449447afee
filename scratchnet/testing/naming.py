"""Which bug is this? A wrong result is named only if one known variant explains it to rounding.

`Evidence` is one random problem: the right result, the wrong one, and what each variant of the
right computation gives there. A variant explains a bug if it equals the wrong result on every draw,
the draws on which the code under test happens to be right included. Where no variant does, or two
with different names do, the answer is None: "not recognised" is honest, a wrong name costs somebody
an afternoon. Read `batteries.py` next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.museum import BUGS
from scratchnet.testing.slips import SLIPS


class LikelyBug(NamedTuple):
    """The name of the one known bug that explains everything, or None."""

    name: str | None = None


Tensors = Mapping[str, Array]

TOLERANCE = 1e-9
"""Largest difference, as a share of a tensor's largest entry, at which two results are the same."""


class Evidence(NamedTuple):
    """One problem: name -> tensor of the right and the wrong result, and of each variant's."""

    right: Tensors
    wrong: Tensors
    variants: Mapping[str, Tensors]


def same(one: Tensors, other: Tensors, tolerance: float = TOLERANCE) -> bool:
    """Equal shapes and, to rounding, equal numbers; a NaN equals nothing."""
    if one.keys() != other.keys():
        return False
    for name, a in one.items():
        b = other[name]
        if a.shape != b.shape:
            return False
        # One scale a tensor: an entry that cancels is as wrong as the terms it was made of.
        scale = max(np.max(np.abs(a), initial=0), np.max(np.abs(b), initial=0))
        if not np.all(np.abs(a - b) <= tolerance * scale):
            return False
    return True


def explains(name: str, draws: list[Evidence], tolerance: float = TOLERANCE) -> bool:
    """Whether this variant gives the wrong result wherever it was drawn, and is wrong itself."""
    known = [draw for draw in draws if name in draw.variants]
    if len(known) < len(draws):
        return False
    if not all(same(draw.wrong, draw.variants[name], tolerance) for draw in known):
        return False
    telling = [draw for draw in known if not same(draw.right, draw.wrong, tolerance)]
    return len(telling) > 0


def recognise(
    draws: Iterable[Evidence],
    alias: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
) -> str | None:
    """The name of the one variant that explains all draws, or None.

    `alias` maps variants to names: several that bear one name count as one.

    >>> g = np.array([1.0, -2.0])
    >>> right, wrong = {"dX": g}, {"dX": -g}
    >>> recognise([Evidence(right, wrong, {"sign": wrong, "twice": {"dX": 2 * g}})])
    'sign'
    >>> recognise([Evidence(right, wrong, {"sign": wrong, "other": wrong})]) is None
    True
    """
    all_draws = list(draws)
    names = {name for draw in all_draws for name in draw.variants}
    found = {
        (alias or {}).get(name, name) for name in names if explains(name, all_draws, tolerance)
    }
    return found.pop() if len(found) == 1 else None


SENTENCES = {
    "factor B too large": "a factor of B too large: dY carries the 1 / B of a mean already, or the "
    "mean over the batch is missing",
    "factor B too small": "a factor of B too small: averaged over the batch, although dY carries "
    "the 1 / B already",
    "factor 2 too large": "a factor of 2 too large",
    "factor 2 too small": "a factor of 2 too small",
    "zero": "it is 0: computed and thrown away, or never computed",
    "sign": "its sign is turned",
    "transposed": "it is transposed",
    "factor K too small": "a factor of K too small: averaged over the outputs once too often",
    "first sample": "only the first sample counts: the sum over the batch is missing",
    "last sample": "only the last sample counts: each overwrites the one before",
    "one for all": "the sum runs over the outputs too: every entry got the same number",
    "dY": "the gradient is passed through as it came",
    "p - t": "it is p - t, the gradient by the logits under a softmax, where that by p belongs",
}
"""What is wrong with one tensor, for code that no entry of the museum fits."""


def sentence(name: str | None) -> str:
    """The line of a failure that names the likely bug."""
    if name is None:
        return "likely bug: not recognised"
    if name in BUGS:
        return f"likely bug: looks like {name!r}: {BUGS[name].wrong} ({BUGS[name].source})"
    if name in SLIPS:
        return f"likely bug: looks like {name!r}: {SLIPS[name].wrong} ({SLIPS[name].source})"
    tensor, _, kind = name.partition(": ")
    return f"likely bug: {tensor}: {SENTENCES[kind]}"


def transforms(right: Array, parts: list[Array], dY: Array | None) -> dict[str, Array]:
    """What common slips make of one tensor.

    Args:
        right: the right tensor.
        parts: what each of the B samples contributes to it, or [] where that is unknown.
        dY: the gradient that came in, for a tensor that it might have been passed on as.
    """
    made: dict[str, Array] = {
        "sign": -right,
        "factor 2 too large": 2 * right,
        "factor 2 too small": right / 2,
        "zero": 0 * right,
    }
    if right.ndim == 2 and min(right.shape) > 1:
        made["transposed"] = right.T.reshape(right.shape)
    if right.ndim and right.size > 1 and parts:
        made["one for all"] = np.full_like(right, np.sum(right))
    if parts:
        made["first sample"], made["last sample"] = parts[0], parts[-1]
    if dY is not None and dY.shape == right.shape:
        made["dY"] = dY
    return made

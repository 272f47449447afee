"""The judgement: compare along every coordinate or block, and sort what disagrees.

A row that exceeds its bound is halved down to the culprit, and then asked why: a kink, rounding, a
complex step led astray, or a bug. What cannot be judged is counted apart. Read `__init__.py` for
the functions that are offered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from scratchnet.gradcheck.layout import UNIT64, Index, Tree, TreeLayout, Vector
from scratchnet.gradcheck.oracles import ScalarFunction, Slope
from scratchnet.gradcheck.report import GradientReport

RESOLUTION = 1e-4  # certified: an error of 0.01 % in this coordinate would have been seen
CERTIFIED, ZERO, UNCERTIFIED, KINK, WRONG = range(5)


class BoundRule(NamedTuple):
    """The bound of each coordinate: factor * S, or factor * (|g| + max|g| / 10)."""

    factor: float
    scale: Vector | None
    text: str


def rule_for(
    layout: TreeLayout, scale: Tree, tolerance: float | None, depth: int | None
) -> BoundRule:
    S = None if scale is None else layout.flatten(scale, "scale")
    if S is not None and not (np.isfinite(S) & (S >= 0)).all():
        raise ValueError("scale is negative or not finite somewhere; expected sums of |terms|")
    if any(given is not None and not given > 0 for given in (tolerance, depth)):
        raise ValueError(f"tolerance {tolerance}, depth {depth}: expected positive numbers or None")
    dtype = {UNIT64: "float64", 2.0**-24: "float32"}.get(layout.unit, "float16")
    if tolerance is not None:
        factor, origin = tolerance, "given"
    elif depth is not None:
        factor, origin = depth * layout.unit, f"depth {depth} times u of {dtype}"
    elif dtype == "float64":
        factor, origin = 1e-12, "float64"
    else:
        terms = math.ceil(64 + math.sqrt(layout.flat.size))
        factor, origin = terms * layout.unit, f"64 + sqrt(P) = {terms} times u of {dtype}"
    black_box = f"{factor:.2g} |g| + {factor / 10:.2g} max|g| (black box, {origin})"
    return BoundRule(factor, S, black_box if S is None else f"{factor:.2g} S ({origin})")


class Comparison(NamedTuple):
    """One comparison along one direction."""

    where: Index
    weight: Vector
    analytic: float
    numeric: float
    error: float
    kink: bool


Oracle = Callable[[Vector, Index, Vector], Slope]
Verdict = Callable[[Comparison], int]


class AnalyticGradient:
    """The analytic gradient as a flat vector: given as numbers, or computed where it is asked."""

    def __init__(self, layout: TreeLayout, gradients: Tree) -> None:
        self.layout, self.gradients, self.fixed = layout, gradients, not callable(gradients)

    def __call__(self, x: Vector) -> Vector:
        given = self.gradients
        if not self.fixed:
            given = given(self.layout.unflatten(x, own_dtypes=True))
        return self.layout.flatten(given, "gradients")

    def twice(self, x: Vector) -> Vector:
        """The same, computed again to see that it is a function; a ``ValueError`` if it isn't."""
        one, again = self(x), self(x)
        size = np.max(np.abs(one), initial=0)
        # a graph that is walked in another order sums in another order: that is rounding
        if not np.allclose(one, again, rtol=1e-13, atol=1e-13 * size, equal_nan=True):
            raise ValueError("gradients(params) is not deterministic; fix the seed inside it")
        return one


class Survey:
    """Compares along every coordinate, or block of coordinates, and sorts what disagrees."""

    def __init__(
        self, layout: TreeLayout, analytic: Vector, rule: BoundRule, oracle: Oracle, judge: Verdict
    ) -> None:
        self.layout, self.analytic, self.rule = layout, analytic, rule
        self.oracle, self.judge = oracle, judge
        self.status = np.full(analytic.size, UNCERTIFIED)

    def measure(self, index: Index, weight: Vector) -> Comparison:
        if index.size == 1:
            weight = np.ones(1)  # a coordinate that a block was narrowed down to is shown as it is
        analytic = float(weight @ self.analytic[index])
        return Comparison(index, weight, analytic, *self.oracle(self.layout.flat, index, weight))

    def bound(self, row: Comparison) -> float:
        # independent roundings add up like the root of their sum of squares
        return float(np.linalg.norm(row.weight * self.bounds[row.where])) + 4 * row.error

    def excess(self, row: Comparison) -> float:
        """The error in units of its bound; above 1 the two sides disagree."""
        apart = abs(row.analytic - row.numeric)
        if not math.isfinite(row.analytic):
            return math.inf
        return apart / max(self.bound(row), 5e-324) if math.isfinite(row.error) else 0.0

    def run(self, block: int, spread: Callable[[int], Vector]) -> None:
        rows = []
        for first, last in pairwise(self.layout.starts):
            for a in range(first, last, block):
                index = np.arange(a, min(a + block, last))
                rows.append(self.measure(index, spread(index.size)))
        g = self.analytic if block > 1 else np.array([row.numeric for row in rows])
        self.size = np.where(np.isfinite(g), np.abs(g), 0.0)
        S = self.rule.scale
        self.bounds = self.rule.factor * (self.size + self.size.max() / 10 if S is None else S)
        self.rows = sorted(rows, key=self.excess, reverse=True)
        confirmed = 0
        for row in tuple(self.rows):
            if row.kink:
                self.status[row.where] = KINK
            elif block == 1 and confirmed == 16 and self.excess(row) > 1:
                self.status[row.where] = WRONG  # sixteen judged one by one speak for the rest
            else:
                confirmed += self.settle(row)

    def settle(self, row: Comparison) -> bool:
        """Give the coordinates of a row their verdict; True when a wrong one was found."""
        while self.excess(row) > 1:
            worst = self.narrow(row)
            verdict = KINK if worst.kink else self.judge(worst)
            self.status[worst.where] = verdict
            if verdict == WRONG:
                self.rows.append(worst)
                return True
            left = ~np.isin(row.where, worst.where)
            if not left.any():
                return False
            row = self.measure(row.where[left], row.weight[left])
        seen = self.bound(row) <= RESOLUTION * np.abs(self.size[row.where] * row.weight)
        self.status[row.where[seen]] = CERTIFIED
        if row.where.size == 1 and row.analytic == row.numeric == row.error == 0:
            self.status[row.where] = ZERO
        return False

    def narrow(self, row: Comparison) -> Comparison:
        """Halve a disagreeing block, always into the worse half, while a half still disagrees."""
        while (middle := row.where.size // 2) > 0:
            parts = slice(middle), slice(middle, None)
            halves = [self.measure(row.where[part], row.weight[part]) for part in parts]
            worse = max(halves, key=self.excess)
            if self.excess(worse) <= 1:
                break
            row = worse
        return row

    def report(self, oracle: str, evaluations: int, notes: list[str]) -> GradientReport:
        wrong = [row for row in self.rows if (self.status[row.where] == WRONG).all()]
        sound = [row for row in self.rows if not row.kink and math.isfinite(row.error)]
        row = max(wrong or sound or self.rows, key=self.excess)
        apart, top = abs(row.analytic - row.numeric), max(abs(row.analytic), abs(row.numeric))
        above = self.size.max() if self.rule.scale is None else self.rule.scale[row.where].max()
        below = self.size[row.where].max()
        names = ("certified", "zeros", "uncertified", "kinks", "wrong")
        counts = {name: int(np.sum(self.status == kind)) for kind, name in enumerate(names)}
        return GradientReport(
            path=self.layout.name(row.where),
            analytic=row.analytic,
            numeric=row.numeric,
            relative_error=apart / top if top else 0.0,
            tolerance=self.bound(row),
            condition=float(above / below) if below else math.inf,
            size=self.status.size,
            **counts,
            rule=self.rule.text,
            oracle=oracle,
            evaluations=evaluations,
            notes=tuple(notes),
        )


class Judge:
    """Why does a row disagree? A kink, rounding, a complex step led astray, or a bug.

    Rounding differs from one neighbour of x to the next, a bug does not; and whatever the complex
    step says, central differences have to allow it before a gradient is blamed.
    """

    def __init__(
        self, loss: ScalarFunction, oracle: Oracle, backward: AnalyticGradient, notes: list[str]
    ) -> None:
        self.loss, self.oracle, self.backward, self.notes = loss, oracle, backward, notes

    @cached_property
    def neighbours(self) -> list[tuple[Vector, Vector]]:
        """Four points beside x, and the analytic gradient at each.

        Where it can be computed anew, far enough to round everything anew; where it was given as
        numbers, that belong to x, only a few ulps away.
        """
        loss, layout = self.loss, self.loss.layout
        far = 8 * layout.unit if self.backward.fixed else max(2.0**-20, 8 * layout.unit)
        moves = far * loss.length * loss.rng.uniform(-1, 1, (4, loss.x.size))
        trees = [layout.unflatten(loss.x + move, own_dtypes=True) for move in moves]
        points = [layout.flatten(tree, "params") for tree in trees]
        return [(at, self.backward.twice(at)) for at in points]

    def __call__(self, row: Comparison) -> int:
        if not math.isfinite(row.analytic):
            return WRONG
        index, weight, apart = row.where, row.weight, row.analytic - row.numeric
        rough = row.error
        if self.oracle == self.loss.exact:
            _, rough, kink = self.loss.confirm(row.numeric, index, weight, row.analytic)
            if kink:
                return KINK
            if row.numeric == 0 and abs(apart) <= rough:
                return UNCERTIFIED  # an imaginary part lost altogether would look the same
        there = [
            weight @ gradient[index] - self.oracle(x, index, weight).value
            for x, gradient in self.neighbours
        ]
        if abs(apart) <= 4 * np.max(np.abs(np.array(there) - apart)):
            return UNCERTIFIED
        # 1 + tiny is 1, and 1 - 1 is 0: a loss of natural size absorbs such an entry, and given
        # numbers that cannot be computed anew may differ by a little more
        absorbed = UNIT64 * self.loss.natural / self.loss.reach(index, weight)
        little = abs(apart) <= min(1e-6 * abs(row.numeric), 64 * absorbed)
        tiny = max(abs(row.analytic), abs(row.numeric)) <= 8 * absorbed
        if tiny or (self.backward.fixed and little):
            return UNCERTIFIED
        if abs(apart) <= rough and row.error == 0:
            where = self.loss.layout.name(index)
            self.notes.append(f"central differences at {where} (+- {rough:.1g}) cannot confirm it")
        return WRONG

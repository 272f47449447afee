"""Is this gradient right? A checker for hand-written backprop: plain callables and arrays in.

The complex step is the oracle, because it has no step to tune and no subtraction to round
(Squire & Trapp 1998); where the code under test cannot carry an imaginary part the checker finds
out, says so, and uses central differences whose error it estimates itself. It refuses a tolerance
that hides things: coordinates that it cannot judge are counted apart, as uncertified or on a kink.
It knows no layer and draws from no global random state.
Start at ``check_gradients``, then read ``_Loss``, the two oracles, and ``_Survey``, the verdicts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GradientError",
    "Report",
    "central_difference",
    "check_gradients",
    "check_vjp",
    "compare",
    "complex_step",
    "directional_derivative",
]

__tracebackhide__ = True  # pytest shows the line that called us, and the message

Tree = Any  # an array, or a dict, list or tuple of trees
Function = Callable[[Any], Any]
Vector = NDArray[np.float64]
Index = NDArray[np.intp]
Seed = np.random.Generator | int | None
Method = Literal["auto", "complex", "central"]
Coordinates = Literal["auto", "all", "blocks"]

EVERY_COORDINATE_UP_TO = 4096  # "auto" checks every coordinate up to here, blocks beyond
BLOCK = 256  # coordinates in one projection: an error is diluted by sqrt(BLOCK), not sqrt(P)
RESOLUTION = 1e-4  # certified: an error of 0.01 % in this coordinate would have been seen
UNIT64 = 2.0**-53
CERTIFIED, ZERO, UNCERTIFIED, KINK, WRONG = range(5)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was checked, against what, how well, and the worst coordinate; ``str()`` is for people.

    ``path`` names the coordinate with the largest error in units of its bound, for instance
    ``['W1'][3, 7]``, or a range of coordinates where a projection was compared. With
    a = ``analytic`` and n = ``numeric``, ``relative_error`` is |a - n| / max(|a|, |n|), and
    ``tolerance`` the absolute bound on |a - n|, derived as ``rule`` says. ``condition`` is S / |n|
    where S was given, else max|g| / |n|: the cancellation, or the smallness, behind that entry.

    ``size`` = ``certified`` + ``zeros`` + ``uncertified`` + ``kinks`` + ``wrong`` coordinates:

    - certified: the bound there is at most 1e-4 of the entry, so an error of 0.01 % would show;
    - zeros: exactly 0.0 on both sides;
    - uncertified: not wrong, but an error of 0.01 % could hide in rounding;
    - kinks: the one-sided slopes differ, so there is no derivative to compare with;
    - wrong: the two sides disagree, and none of the above explains it.

    >>> report = check_gradients(lambda x: np.sum(x**2), np.array([1.0, 3.0]), lambda x: 2 * x)
    >>> report.ok, report.certified, report.size
    (True, 2, 2)
    """

    path: str
    analytic: float
    numeric: float
    relative_error: float
    tolerance: float
    condition: float
    size: int
    certified: int
    zeros: int
    uncertified: int
    kinks: int
    wrong: int
    rule: str
    oracle: str
    evaluations: int
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when no coordinate is wrong."""
        return self.wrong == 0

    def __str__(self) -> str:
        seen = self.certified + self.zeros
        head = "agree" if seen else "do not disagree, but none is certified,"
        head = f"WRONG in {self.wrong:,}" if self.wrong else head
        ratio = self.analytic / self.numeric if self.numeric else math.nan
        return "\n".join(
            [
                f"gradients {head} of {self.size:,} coordinates",
                f"  worst    {self.path}:"
                f" analytic {self.analytic:.16g}, numeric {self.numeric:.16g}",
                f"           relative error {self.relative_error:.2g},"
                f" analytic/numeric {ratio:.8g}, condition {self.condition:.2g}",
                f"  bound    {self.tolerance:.2g} there, from {self.rule}",
                f"  counted  {self.certified:,} certified, {self.zeros:,} zero on both sides,"
                f" {self.uncertified:,} uncertified, {self.kinks:,} on a kink,"
                f" {self.wrong:,} wrong",
                f"  oracle   {self.oracle}; {self.evaluations:,} evaluations of f",
                *(f"  note     {note}" for note in self.notes),
            ]
        )


class GradientError(AssertionError):
    """A gradient is wrong. The message is the report, which is also the attribute ``report``.

    >>> try:
    ...     check_gradients(lambda x: np.sum(x**2), np.array([1.0, 3.0]), np.array([2.0, 3.0]))
    ... except GradientError as error:
    ...     error.report.path, error.report.wrong
    ('[1]', 1)
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report


class _UnfitError(Exception):
    """The function does not carry an imaginary part faithfully; the text says how that was seen."""


def _leaves(tree: Tree, path: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            yield from _leaves(child, f"{path}[{key!r}]")
    elif isinstance(tree, list | tuple):
        for place, child in enumerate(tree):
            yield from _leaves(child, f"{path}[{place}]")
    else:
        yield path, np.asarray(tree)


def _rebuild(tree: Tree, leaves: Iterator[NDArray[Any]]) -> Tree:
    if isinstance(tree, Mapping):
        return {key: _rebuild(child, leaves) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        children = [_rebuild(child, leaves) for child in tree]
        if isinstance(tree, list):
            return children
        return type(tree)(*children) if hasattr(tree, "_fields") else tuple(children)
    return next(leaves)


class _Layout:
    """Where each coordinate of a flat vector lives in the caller's structure."""

    def __init__(self, tree: Tree) -> None:
        named = dict(_leaves(tree))
        self.like = tree
        self.shapes = {path: leaf.shape for path, leaf in named.items()}
        self.dtypes = [leaf.dtype for leaf in named.values()]
        self.starts = np.cumsum([0, *(leaf.size for leaf in named.values())])
        if not self.starts[-1]:
            raise ValueError("there are no parameters; expected at least one number")
        self.unit = UNIT64
        self.flat = self.flatten(tree, "params")

    def flatten(self, tree: Tree, what: str) -> Vector:
        """A float64 copy; ``unit`` becomes the unit roundoff of the coarsest dtype seen so far."""
        named = dict(_leaves(tree))
        if named.keys() != self.shapes.keys():
            odd = ", ".join(sorted(named.keys() ^ self.shapes.keys()))
            raise ValueError(f"{what} and params differ in {odd}; give both the same structure")
        for path, shape in self.shapes.items():
            leaf = named[path]
            if leaf.dtype.kind != "f" or leaf.dtype.itemsize > 8:
                kinds = "float16, float32 or float64: convert it with .astype"
                raise TypeError(f"{what}{path} is {leaf.dtype}; expected {kinds}")
            if leaf.shape != shape:
                hint = "transposed, or a sum over the batch missing?"
                raise ValueError(f"{what}{path} has shape {leaf.shape}; expected {shape}: {hint}")
            self.unit = max(self.unit, float(np.finfo(leaf.dtype).eps) / 2)
        return np.concatenate([named[path].ravel() for path in self.shapes]).astype(np.float64)

    def unflatten(self, flat: NDArray[Any], own_dtypes: bool = False) -> Tree:
        """Views of ``flat`` in the caller's structure, or copies in the caller's dtypes."""
        spans = [flat[a:b] for a, b in pairwise(self.starts)]
        leaves = list(map(np.reshape, spans, self.shapes.values()))
        if own_dtypes:
            leaves = [leaf.astype(dtype) for leaf, dtype in zip(leaves, self.dtypes, strict=True)]
        return _rebuild(self.like, iter(leaves))

    def name(self, index: Index) -> str:
        if index.size > 1:
            return f"{self.name(index[:1])} .. {self.name(index[-1:])} (projection)"
        which = int(np.searchsorted(self.starts, index[0], "right")) - 1
        path, shape = list(self.shapes.items())[which]
        place = map(str, np.unravel_index(index[0] - self.starts[which], shape)) if shape else ()
        return f"{path}[{', '.join(place)}]" if shape else path or "params"


class _Slope(NamedTuple):
    """A derivative along a direction, as an oracle gives it."""

    value: float
    error: float  # beyond the rounding of the complex step, for which it is 0
    kink: bool


class _Loss:
    """f on one flat vector, and its two oracles: derivatives along sparse directions.

    A direction is (index, weight): coordinate index[k] moves by weight[k]. Every call hands f a
    fresh copy, so f may write into its argument or keep it, and the caller's arrays are never seen.
    """

    def __init__(self, f: Function, params: Tree, rng: Seed = None) -> None:
        self.f, self.calls = f, 0
        self.layout = _Layout(params)
        self.x = self.layout.flat
        self.everything = np.arange(self.x.size)
        self.rng = np.random.default_rng(0 if rng is None else rng)
        if not np.isfinite(self.x).all():
            bad = self.layout.name(np.flatnonzero(~np.isfinite(self.x))[:1])
            raise ValueError(f"params: {bad} is not finite; expected finite parameters")
        self.length = np.abs(self.x)  # natural length of a coordinate: never below its array's rms
        overall = float(np.sqrt(np.mean(self.x**2))) or 1.0
        for a, b in pairwise(self.layout.starts):
            rms = float(np.linalg.norm(self.x[a:b])) / math.sqrt(max(b - a, 1))
            self.length[a:b] = np.maximum(self.length[a:b], rms or overall)
        self.value, again = self.real(self.x.copy()), self.real(self.x.copy())
        if not math.isfinite(self.value):
            raise ValueError(f"f(params) is {self.value}; expected a finite loss: look there first")
        if again != self.value:
            raise ValueError(
                f"f is not deterministic: {self.value!r}, then {again!r} for the same params; "
                "fix the seed inside f, or switch off dropout and shuffling"
            )

    def __call__(self, flat: NDArray[Any]) -> Any:
        self.calls += 1
        value = np.asarray(self.f(self.layout.unflatten(flat)))
        if value.ndim or value.dtype.kind not in "fciu":
            raise ValueError(
                f"f returned {value.dtype} of shape {value.shape}; expected one scalar loss: "
                "sum or average it, or use check_vjp for a layer"
            )
        return value[()]

    def real(self, flat: Vector) -> float:
        value = self(flat)
        if np.iscomplexobj(value):
            raise TypeError(f"f returned {value} for real params; expected a real loss: take .real")
        return float(value)

    def near(self, at: Vector, index: Index, move: Vector) -> float:
        """f beside a point, or NaN where f is not defined."""
        moved = at.copy()
        moved[index] += move
        try:
            return self.real(moved)
        except (ArithmeticError, ValueError):
            return math.nan

    def spread(self, size: int) -> Vector:
        """Weights of either sign with 1/2 <= |w| < 3/2: none vanishes, and errors do not cancel."""
        signs = self.rng.choice(np.array([-1.0, 1.0]), size)
        return signs * self.rng.uniform(0.5, 1.5, size)

    def reach(self, index: Index, weight: Vector) -> float:
        """The largest power of two that moves no coordinate by more than its length."""
        return 2.0 ** math.floor(math.log2(np.min(self.length[index] / np.abs(weight))))

    def complex(self, x: Vector, index: Index, weight: Vector) -> tuple[float, float]:
        """(Re f, derivative along the direction w) = (Re f(x + ihw), Im f(x + ihw) / h).

        The truncation error is O(h^2) and h is 2^-66 natural lengths: nothing is left of it. A
        power of two, so that the scaling itself does not round.
        """
        h = 2.0**-66 * self.reach(index, weight)
        z = x.astype(np.complex128)
        z.imag[index] = h * weight
        try:
            value = self(z)
        except Exception as error:  # f is fine on real parameters: it is about complex numbers
            kind = type(error).__name__
            raise _UnfitError(f"f raised {kind} on complex parameters: {error}") from error
        if not (np.iscomplexobj(value) and np.isfinite(value)):
            raise _UnfitError(
                f"f returned {value!r} for complex parameters; expected a finite complex number "
                "(abs, norm, .real and casts drop the imaginary part)"
            )
        return float(value.real), float(value.imag) / h

    def exact(self, x: Vector, index: Index, weight: Vector) -> _Slope:
        return _Slope(self.complex(x, index, weight)[1], 0.0, False)

    def central(self, x: Vector, index: Index, weight: Vector) -> _Slope:
        """The derivative along the direction w by central differences, and an error estimate.

        D(h) = (f(x + hw) - f(x - hw)) / 2h on eight steps, each an eighth of the last. Of the D(h)
        that every finer step bears out within its own noise, the one with the least error
        |D(8h) - D(h)| + noise / h is taken; where there is none the error is infinite. At a kink
        (f(x + hw) - 2 f(x) + f(x - hw)) / h, extrapolated to h = 0, is the jump of the slope.
        """
        steps = self.reach(index, weight) * 8.0 ** -np.arange(1, 9)
        up = np.array([self.near(x, index, h * weight) for h in steps])
        down = np.array([self.near(x, index, -h * weight) for h in steps])
        slope = (up - down) / (2 * steps)
        jumps = np.abs(up - down)[up != down]
        grain = float(np.min(jumps)) if 0 < jumps.size < 8 else 0.0  # where f is a staircase
        noise = max(4 * self.noise, grain) / steps
        value = slope[1:]
        error = np.abs(np.diff(slope)) + noise[1:]
        borne_out = np.abs(slope - value[:, None]) <= error[:, None] + noise
        coarser = np.tri(7, 8, 1, dtype=bool)
        usable = np.isfinite(error) & (borne_out | coarser).all(axis=1)
        usable[-1] = False  # nothing finer is left that could contradict it
        best = int(np.argmin(np.where(usable | ~usable.any() & ~np.isnan(error), error, np.inf)))
        if not usable.any():
            return _Slope(float(value[best]), math.inf, False)
        coarse, fine = ((up + down - 2 * self.near(x, index, 0 * weight)) / steps)[best : best + 2]
        kink = abs(8 * fine - coarse) / 7 > 4 * error[best]
        return _Slope(float(value[best]), float(error[best]), bool(kink))

    @cached_property
    def noise(self) -> float:
        """Rounding noise of f: fourth differences at close points (Moré & Wild, SISC 33(3), 2011).

        The points spread until most values differ, for a loss that hides float32 sums is flat
        between roundings; and one that is a float32 number everywhere has that noise at least.
        """
        estimates = []
        for _ in range(3):
            weight = self.spread(self.x.size) * self.length
            for spacing in (2.0**-36, 2.0**-28, 2.0**-20):
                # starting beside x, since x itself may sit on a kink, which is not noise
                steps = spacing * np.arange(4, 11)
                values = np.array([self.near(self.x, self.everything, h * weight) for h in steps])
                if np.unique(values).size > 4:
                    break
            unit = 2.0**-24 if (values == values.astype(np.float32)).all() else UNIT64
            rough = float(np.linalg.norm(np.diff(values, 4))) / math.sqrt(3 * 70)
            estimates.append(max(unit * abs(self.value), rough))  # unit first: rough may be NaN
        return float(np.median(estimates))

    @cached_property
    def natural(self) -> float:
        """The larger of |f(x)| and |f(0)|: the size of the terms that a tiny loss cancels from."""
        zero = abs(self.near(self.x, self.everything, -self.x))
        return max(abs(self.value), zero if math.isfinite(zero) else 0.0)

    def confirm(self, slope: float, index: Index, weight: Vector, rival: float) -> _Slope:
        """The central difference, which must not contradict ``slope``, nor favour a rival."""
        central = self.central(self.x, index, weight)
        lost = 8 * UNIT64 * self.natural / self.reach(index, weight)
        off = abs(slope - central.value)
        allowed = min(4 * central.error, abs(rival - central.value) + central.error / 2)
        if not central.kink and off > allowed + lost:
            raise _UnfitError(
                f"at {self.layout.name(index)} it gives {slope:.10g}, central differences "
                f"{central.value:.10g} +- {central.error:.1g}: an imaginary part is lost in f "
                "(abs, norm, conj, .real or a cast)"
            )
        return central

    def require_complex(self) -> str:
        """Hold the complex step against real evaluations along three random directions.

        A path that loses its imaginary part shows as soon as its share in the derivative exceeds
        the error of the central difference, which the returned note states.
        """
        errors = []
        for _ in range(3):
            weight = self.spread(self.x.size) * self.length
            value, slope = self.complex(self.x, self.everything, weight)
            rounding = 64 * (self.noise + UNIT64 * self.natural)
            if abs(value - self.value) > 1e-9 * abs(self.value) + rounding:
                raise _UnfitError(
                    f"f is {self.value!r}, but {value!r} with an infinitesimal imaginary part: "
                    "it takes another path, or loses digits, for complex numbers"
                )
            central = self.confirm(slope, self.everything, weight, math.inf)
            if not central.kink and math.isfinite(central.error):
                errors.append(central.error / max(abs(slope), central.error, 5e-324))
        if not errors:
            return "central differences along random directions were too rough to confirm it"
        return f"confirmed by central differences along random directions to {max(errors):.1g}"


@contextmanager
def _guarded() -> Iterator[None]:
    """A cast that drops an imaginary part raises; overflow beside x stays silent."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        yield


class _Rule(NamedTuple):
    """The bound of each coordinate: factor * S, or factor * (|g| + max|g| / 10)."""

    factor: float
    scale: Vector | None
    text: str


def _rule(layout: _Layout, scale: Tree, tolerance: float | None, depth: int | None) -> _Rule:
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
    return _Rule(factor, S, black_box if S is None else f"{factor:.2g} S ({origin})")


class _Row(NamedTuple):
    """One comparison along one direction."""

    where: Index
    weight: Vector
    analytic: float
    numeric: float
    error: float
    kink: bool


Oracle = Callable[[Vector, Index, Vector], _Slope]
Judge = Callable[[_Row], int]


class _Backward:
    """The analytic gradient as a flat vector: given as numbers, or computed where it is asked."""

    def __init__(self, layout: _Layout, gradients: Tree) -> None:
        self.layout, self.gradients, self.fixed = layout, gradients, not callable(gradients)

    def __call__(self, x: Vector) -> Vector:
        given = self.gradients
        if not self.fixed:
            given = given(self.layout.unflatten(x, own_dtypes=True))
        return self.layout.flatten(given, "gradients")


class _Survey:
    """Compares along every coordinate, or block of coordinates, and sorts what disagrees."""

    def __init__(
        self, layout: _Layout, analytic: Vector, rule: _Rule, oracle: Oracle, judge: Judge
    ) -> None:
        self.layout, self.analytic, self.rule = layout, analytic, rule
        self.oracle, self.judge = oracle, judge
        self.status = np.full(analytic.size, UNCERTIFIED)

    def measure(self, index: Index, weight: Vector) -> _Row:
        if index.size == 1:
            weight = np.ones(1)  # a coordinate that a block was narrowed down to is shown as it is
        analytic = float(weight @ self.analytic[index])
        return _Row(index, weight, analytic, *self.oracle(self.layout.flat, index, weight))

    def bound(self, row: _Row) -> float:
        # independent roundings add up like the root of their sum of squares
        return float(np.linalg.norm(row.weight * self.bounds[row.where])) + 4 * row.error

    def excess(self, row: _Row) -> float:
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

    def settle(self, row: _Row) -> bool:
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

    def narrow(self, row: _Row) -> _Row:
        """Halve a disagreeing block, always into the worse half, while a half still disagrees."""
        while (middle := row.where.size // 2) > 0:
            parts = slice(middle), slice(middle, None)
            halves = [self.measure(row.where[part], row.weight[part]) for part in parts]
            worse = max(halves, key=self.excess)
            if self.excess(worse) <= 1:
                break
            row = worse
        return row

    def report(self, oracle: str, evaluations: int, notes: list[str]) -> Report:
        wrong = [row for row in self.rows if (self.status[row.where] == WRONG).all()]
        sound = [row for row in self.rows if not row.kink and math.isfinite(row.error)]
        row = max(wrong or sound or self.rows, key=self.excess)
        apart, top = abs(row.analytic - row.numeric), max(abs(row.analytic), abs(row.numeric))
        above = self.size.max() if self.rule.scale is None else self.rule.scale[row.where].max()
        below = self.size[row.where].max()
        names = ("certified", "zeros", "uncertified", "kinks", "wrong")
        counts = {name: int(np.sum(self.status == kind)) for kind, name in enumerate(names)}
        return Report(
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


class _Judge:
    """Why does a row disagree? A kink, rounding, a complex step led astray, or a bug.

    Rounding differs from one neighbour of x to the next, a bug does not; and whatever the complex
    step says, central differences have to allow it before a gradient is blamed.
    """

    def __init__(self, loss: _Loss, oracle: Oracle, backward: _Backward, notes: list[str]) -> None:
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
        return [(at, self.backward(at)) for at in points]

    def __call__(self, row: _Row) -> int:
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


def check_gradients(
    f: Function,
    params: Tree,
    gradients: Tree,
    *,
    method: Method = "auto",
    coordinates: Coordinates = "auto",
    scale: Tree = None,
    tolerance: float | None = None,
    depth: int | None = None,
    rng: Seed = None,
) -> Report:
    """Hold ``gradients`` against df/dparams; raise ``GradientError`` where they disagree.

    ``f``: params -> scalar loss, called with float64 and complex128 copies, so that float32 code is
    checked against its float64 twin. ``params``: an array, or dicts, lists and tuples of float
    arrays. ``gradients``: the same structure and shapes, or better a callable params -> gradients,
    handed copies in the caller's dtypes: beside ``params`` rounding changes and a bug stays.

    ``method``: "complex" (``complex_step``), "central" (``central_difference``), or "auto": central
    only where f cannot carry an imaginary part (abs, norm, conj, casts, an exception, or a complex
    step that real evaluations contradict), with the reason in the notes. No gradient is blamed for
    that, down to the accuracy of central differences. The complex step takes one side of a kink
    that x lies on exactly, and cannot see it; a coordinate where that matters counts as a kink.

    ``coordinates``: "all"; "blocks": projections w . g of up to 256 neighbours in one array with
    random 1/2 <= |w_i| < 3/2, halved down to the culprit where they disagree; "auto": all up to
    4096, then blocks. Bounds t_i add up to t = (sum_i w_i^2 t_i^2)^(1/2) <= 24 max t_i in a block:
    one entry wrong by 4 t is always seen, and one of which 0.01 % could hide is uncertified.

    ``scale``, ``tolerance``, ``depth``: see ``compare``. ``ValueError``: differing structures, a
    loss that is random or no finite scalar, "complex" for an unfit f; ``TypeError``: other dtypes.

    >>> W = np.array([[0.5, -1.0], [2.0, 0.25]])
    >>> loss = lambda p: np.sum(np.tanh(p["W"]) ** 2)
    >>> check_gradients(loss, {"W": W}, {"W": 2 * np.tanh(W) / np.cosh(W) ** 2}).certified
    4
    >>> check_gradients(loss, {"W": W}, {"W": 2 * np.tanh(W)})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.gradcheck.GradientError: gradients WRONG in 4 of 4 coordinates
      worst    ['W'][1, 0]: analytic 1.92..., numeric 0.136...
    ...
    """
    if method not in ("auto", "complex", "central"):
        raise ValueError(f"method is {method!r}; expected 'auto', 'complex' or 'central'")
    if coordinates not in ("auto", "all", "blocks"):
        raise ValueError(f"coordinates is {coordinates!r}; expected 'auto', 'all' or 'blocks'")
    with _guarded():
        loss = _Loss(f, params, rng)
        backward = _Backward(loss.layout, gradients)
        analytic = backward(loss.x)  # before the rule: gradients may be coarser than params
        if not np.array_equal(analytic, backward(loss.x), equal_nan=True):
            raise ValueError("gradients(params) is not deterministic; fix the seed inside it")
        rule = _rule(loss.layout, scale, tolerance, depth)
        limit = {"all": loss.x.size, "auto": EVERY_COORDINATE_UP_TO, "blocks": 0}[coordinates]
        block = 1 if loss.x.size <= limit else BLOCK
        report = _check(loss, backward, analytic, rule, method, block)
    if not report.ok:
        raise GradientError(report)
    return report


def _check(
    loss: _Loss, backward: _Backward, analytic: Vector, rule: _Rule, method: Method, block: int
) -> Report:
    def survey(oracle: Oracle, name: str, notes: list[str]) -> Report:
        judge = _Judge(loss, oracle, backward, notes)
        each = _Survey(loss.layout, analytic, rule, oracle, judge)
        each.run(block, loss.spread if block > 1 else np.ones)
        how = f"blocks of up to {block} coordinates" if block > 1 else "every coordinate"
        return each.report(f"{name} along {how}", loss.calls, notes)

    if method == "central":
        return survey(loss.central, "central differences", [])
    try:
        return survey(loss.exact, "complex step", [loss.require_complex()])
    except _UnfitError as reason:
        if method == "complex":
            raise ValueError(f"the complex step is unfit: {reason}; use 'auto'") from reason
        why = f"the complex step was not used: {reason}"
        return survey(loss.central, "central differences", [why])


def check_vjp(
    forward: Function,
    backward: Callable[[Any, Any], Any],
    x: Tree,
    *,
    dy: NDArray[Any] | None = None,
    method: Method = "auto",
    coordinates: Coordinates = "auto",
    scale: Tree = None,
    tolerance: float | None = None,
    depth: int | None = None,
    rng: Seed = None,
) -> Report:
    """Check a layer: backward(x, dy) must be the gradient of sum(dy * forward(x)), that is dy J.

    ``forward(x) -> y`` gives one array of any shape; ``x`` is an array, or a structure of them
    (input and parameters, say), and ``backward(x, dy)`` returns the same structure. ``dy`` has the
    shape and dtype of y: by default random entries of either sign with 1/2 <= |dy| < 3/2, so that
    no output goes unseen. All else is as in ``check_gradients``, errors too.

    >>> W = np.array([[1.0, -2.0], [0.5, 3.0]])
    >>> x = np.array([[0.1, 0.2], [0.3, -0.4]])
    >>> check_vjp(lambda x: x @ W, lambda x, dy: dy @ W.T, x).certified
    4
    """
    inputs = _Layout(x)
    y = np.asarray(forward(inputs.unflatten(inputs.flat, own_dtypes=True)))
    if y.dtype.kind != "f":
        raise TypeError(f"forward returned {y.dtype} of shape {y.shape}; expected one float array")
    rng = np.random.default_rng(0 if rng is None else rng)
    if dy is None:
        dy = rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)
    if np.shape(dy) != y.shape:
        raise ValueError(f"dy has shape {np.shape(dy)}; expected {y.shape}, as forward returns")
    fixed = np.array(dy, y.dtype)
    return check_gradients(
        lambda x: np.sum(fixed * forward(x)),
        x,
        lambda x: backward(x, fixed.copy()),
        method=method,
        coordinates=coordinates,
        scale=scale,
        tolerance=tolerance,
        depth=depth,
        rng=rng,
    )


def compare(
    analytic: Tree,
    numeric: Tree,
    *,
    scale: Tree = None,
    tolerance: float | None = None,
    depth: int | None = None,
) -> Report:
    """Hold two gradients of one structure against each other; ``numeric``, g, is the trusted one.

    The bound on |analytic - g|, coordinate by coordinate (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1: roundings count against sums of absolute values):

    - with ``scale`` S, what the backward pass gives on absolute values (p + onehot for p - onehot,
      1 + a^2 for 1 - a^2): c S. Saturated activations need it, because they cancel;
    - without: c |g| + c/10 max|g|, which leaves entries below 1e-9 max|g| uncertified.

    c is ``tolerance``, or ``depth`` * u with u the unit roundoff of the coarsest dtype in sight and
    depth the number of terms summed on the longest way, or 1e-12 in float64. In float32 and float16
    the default depth is 64 + sqrt(P), P coordinates: roundings of either sign add up like a root
    (Higham & Mary, SIAM J. Sci. Comput. 41(5), 2019).

    Nothing is evaluated, so nothing is excused: what exceeds its bound is wrong. Returns the
    ``Report`` and raises for differing structures only (``ValueError``, ``TypeError``).

    >>> report = compare([1.0, 2.0002], [1.0, 2.0])
    >>> report.path, report.wrong, f"{report.relative_error:.1e}"
    ('[1]', 1, '1.0e-04')
    """
    layout = _Layout(numeric)
    given = layout.flatten(analytic, "analytic")
    rule = _rule(layout, scale, tolerance, depth)
    survey = _Survey(
        layout, given, rule, lambda x, i, w: _Slope(float(x[i[0]]), 0.0, False), lambda row: WRONG
    )
    survey.run(1, np.ones)
    return survey.report("the numbers given, every coordinate", 0, [])


def complex_step(f: Function, params: Tree) -> Tree:
    """df/dx_i = Im f(x + ih e_i) / h for each coordinate, float64, in the structure of ``params``.

    One evaluation of f per coordinate in complex128; the truncation error, of order h^2, is nil,
    and only rounding is left (Squire & Trapp, SIAM Review 40(1), 1998; what f may contain: Martins,
    Sturdza & Alonso, ACM TOMS 29(3), 2003). h is 2^-66 natural lengths of x_i. Raises
    ``ValueError`` where f drops the imaginary part of its result; a loss in one path of several
    shows only against real evaluations, which is what ``check_gradients`` does.

    >>> complex_step(lambda x: np.exp(x[0]) * x[1], np.array([0.0, 3.0])).tolist()
    [3.0, 1.0]
    """
    return _gradient(f, params, "complex")


def central_difference(f: Function, params: Tree) -> Tree:
    """df/dx_i by central differences, float64, in the structure of ``params``.

    (f(x + h e_i) - f(x - h e_i)) / 2h on eight steps, each an eighth of the last, from an eighth of
    the natural length of x_i downwards; the one is kept whose truncation error plus measured noise
    of f is least (Moré & Wild, ACM TOMS 38(3), 2012). About 1e-10 of f / x is reached. A function
    that turns within 1e-7 of that length escapes it; on a kink it gives the mean of both slopes.

    >>> slope = central_difference(lambda p: p[0] ** 3, [2.0])
    >>> abs(float(slope[0]) - 12.0) < 1e-9
    True
    """
    return _gradient(f, params, "central")


def _gradient(f: Function, params: Tree, method: str) -> Tree:
    with _guarded():
        loss, one = _Loss(f, params), np.ones(1)
        slopes = [_along(loss, loss.everything[i : i + 1], one, method) for i in loss.everything]
    return loss.layout.unflatten(np.array(slopes))


def _along(loss: _Loss, index: Index, weight: Vector, method: str) -> float:
    if method == "central":
        return loss.central(loss.x, index, weight).value
    try:
        return loss.exact(loss.x, index, weight).value
    except _UnfitError as reason:
        raise ValueError(f"{reason}; use central differences") from reason


def directional_derivative(
    f: Function,
    params: Tree,
    direction: Tree,
    *,
    method: Literal["complex", "central"] = "complex",
) -> float:
    """sum_i w_i df/dx_i for the direction w, from one complex or sixteen real evaluations.

    ``direction`` has the structure of ``params``. Errors as in ``complex_step``.

    >>> directional_derivative(lambda x: np.sum(x**2), np.array([1.0, 2.0]), np.array([1.0, -1.0]))
    -2.0
    """
    if method not in ("complex", "central"):
        raise ValueError(f"method is {method!r}; expected 'complex' or 'central'")
    with _guarded():
        loss = _Loss(f, params)
        weight = loss.layout.flatten(direction, "direction")
        index = np.flatnonzero(weight)
        return _along(loss, index, weight[index], method) if index.size else 0.0

"""The two oracles: a derivative along a direction by the complex step, or by central differences.

The complex step has no step to tune and no subtraction to round (Squire & Trapp 1998), but holds
only for code that carries an imaginary part; real evaluations along random directions show whether
this code does. Central differences estimate their own error. Read `survey.py` next.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scratchnet.gradcheck.layout import UNIT64, Index, Tree, TreeLayout, Vector

__tracebackhide__ = True  # pytest shows the line that called us, and the message

Function = Callable[[Any], Any]
Seed = np.random.Generator | int | None


class UnfitError(Exception):
    """The function does not carry an imaginary part faithfully; the text says how that was seen."""


class Slope(NamedTuple):
    """A derivative along a direction, as an oracle gives it."""

    value: float
    error: float  # beyond the rounding of the complex step, for which it is 0
    kink: bool


class ScalarFunction:
    """f on one flat vector, and its two oracles: derivatives along sparse directions.

    A direction is (index, weight): coordinate index[k] moves by weight[k]. Every call hands f a
    fresh copy, so f may write into its argument or keep it, and the caller's arrays are never seen.
    """

    def __init__(self, f: Function, params: Tree, rng: Seed = None) -> None:
        self.f, self.calls = f, 0
        self.layout = TreeLayout(params)
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
            raise UnfitError(f"f raised {kind} on complex parameters: {error}") from error
        if not (np.iscomplexobj(value) and np.isfinite(value)):
            raise UnfitError(
                f"f returned {value!r} for complex parameters; expected a finite complex number "
                "(abs, norm, .real and casts drop the imaginary part)"
            )
        return float(value.real), float(value.imag) / h

    def exact(self, x: Vector, index: Index, weight: Vector) -> Slope:
        return Slope(self.complex(x, index, weight)[1], 0.0, False)

    def central(self, x: Vector, index: Index, weight: Vector) -> Slope:
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
            return Slope(float(value[best]), math.inf, False)
        coarse, fine = ((up + down - 2 * self.near(x, index, 0 * weight)) / steps)[best : best + 2]
        kink = abs(8 * fine - coarse) / 7 > 4 * error[best]
        return Slope(float(value[best]), float(error[best]), bool(kink))

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

    def confirm(self, slope: float, index: Index, weight: Vector, rival: float) -> Slope:
        """The central difference, which must not contradict ``slope``, nor favour a rival."""
        central = self.central(self.x, index, weight)
        lost = 8 * UNIT64 * self.natural / self.reach(index, weight)
        off = abs(slope - central.value)
        allowed = min(4 * central.error, abs(rival - central.value) + central.error / 2)
        if not central.kink and off > allowed + lost:
            raise UnfitError(
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
                raise UnfitError(
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
def guarded() -> Iterator[None]:
    """A cast that drops an imaginary part raises; overflow beside x stays silent."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        yield

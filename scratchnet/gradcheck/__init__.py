"""Is this gradient right? A checker for hand-written backprop: plain callables and arrays in.

The complex step is the oracle, because it has no step to tune and no subtraction to round
(Squire & Trapp 1998); where the code under test cannot carry an imaginary part the checker finds
out, says so, and uses central differences whose error it estimates itself. It refuses a tolerance
that hides things: coordinates that it cannot judge are counted apart, as uncertified or on a kink.
It knows no layer and draws from no global random state.
Start at ``check_gradients``; then read `layout.py`, `oracles.py` and `survey.py`, the verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scratchnet.gradcheck.layout import UNIT64 as UNIT64
from scratchnet.gradcheck.layout import Index, Tree, TreeLayout, Vector
from scratchnet.gradcheck.oracles import Function, ScalarFunction, Seed, Slope, UnfitError, guarded
from scratchnet.gradcheck.report import GradientError, GradientReport
from scratchnet.gradcheck.survey import (
    WRONG,
    AnalyticGradient,
    BoundRule,
    Judge,
    Oracle,
    Survey,
    rule_for,
)
from scratchnet.gradcheck.trusted import TrustedGradient, trusted_gradient

__all__ = [
    "GradientError",
    "Report",
    "TrustedGradient",
    "central_difference",
    "check_gradients",
    "check_vjp",
    "compare",
    "complex_step",
    "directional_derivative",
    "trusted_gradient",
]

__tracebackhide__ = True  # pytest shows the line that called us, and the message

Method = Literal["auto", "complex", "central"]
Coordinates = Literal["auto", "all", "blocks", "arrays"]

Report = GradientReport
GradientError.__module__ = __name__  # the name under which people catch it

EVERY_COORDINATE_UP_TO = 4096  # "auto" checks every coordinate up to here, blocks beyond
BLOCK = 256  # coordinates in one projection: an error is diluted by sqrt(BLOCK), not sqrt(P)


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
) -> GradientReport:
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
    "arrays": one projection for each array, halved in the same way: a few evaluations however
    large, where an error below about 1e-10 of the largest entry goes unseen.

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
    if coordinates not in ("auto", "all", "blocks", "arrays"):
        known = "'auto', 'all', 'blocks' or 'arrays'"
        raise ValueError(f"coordinates is {coordinates!r}; expected {known}")
    with guarded():
        loss = ScalarFunction(f, params, rng)
        backward = AnalyticGradient(loss.layout, gradients)
        analytic = backward.twice(loss.x)  # before the rule: gradients may be coarser than params
        rule = rule_for(loss.layout, scale, tolerance, depth)
        block = _block_size(coordinates, loss.x.size)
        report = _check(loss, backward, analytic, rule, method, block)
    if not report.ok:
        raise GradientError(report)
    return report


def _block_size(coordinates: Coordinates, size: int) -> int:
    """How many coordinates one projection looks at."""
    if coordinates == "auto":
        return 1 if size <= EVERY_COORDINATE_UP_TO else BLOCK
    return {"all": 1, "blocks": BLOCK, "arrays": size}[coordinates]


def _check(
    loss: ScalarFunction,
    backward: AnalyticGradient,
    analytic: Vector,
    rule: BoundRule,
    method: Method,
    block: int,
) -> GradientReport:
    def survey(oracle: Oracle, name: str, notes: list[str]) -> GradientReport:
        judge = Judge(loss, oracle, backward, notes)
        each = Survey(loss.layout, analytic, rule, oracle, judge)
        each.run(block, loss.spread if block > 1 else np.ones)
        how = f"blocks of up to {block} coordinates" if block > 1 else "every coordinate"
        return each.report(f"{name} along {how}", loss.calls, notes)

    if method == "central":
        return survey(loss.central, "central differences", [])
    try:
        return survey(loss.exact, "complex step", [loss.require_complex()])
    except UnfitError as reason:
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
) -> GradientReport:
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
    inputs = TreeLayout(x)
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
) -> GradientReport:
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
    layout = TreeLayout(numeric)
    given = layout.flatten(analytic, "analytic")
    rule = rule_for(layout, scale, tolerance, depth)
    survey = Survey(
        layout, given, rule, lambda x, i, w: Slope(float(x[i[0]]), 0.0, False), lambda row: WRONG
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
    with guarded():
        loss, one = ScalarFunction(f, params), np.ones(1)
        slopes = [_along(loss, loss.everything[i : i + 1], one, method) for i in loss.everything]
    return loss.layout.unflatten(np.array(slopes))


def _along(loss: ScalarFunction, index: Index, weight: Vector, method: str) -> float:
    if method == "central":
        return loss.central(loss.x, index, weight).value
    try:
        return loss.exact(loss.x, index, weight).value
    except UnfitError as reason:
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
    with guarded():
        loss = ScalarFunction(f, params)
        weight = loss.layout.flatten(direction, "direction")
        index = np.flatnonzero(weight)
        return _along(loss, index, weight[index], method) if index.size else 0.0

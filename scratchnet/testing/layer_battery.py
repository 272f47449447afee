"""`check_layer` and `check_activation`: is this forward and backward right, and if not, how not?

Small integer problems come first, so that what fails is something to work out by hand; then random
ones. The right gradient is the complex step of the layer's own forward: no second implementation
has to be trusted. Where the forward turns out to be a dense layer, or an activation that the engine
knows, the museum's bugs are computed on the same problem and compared. Read `naming.py` for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from scratchnet import gradcheck
from scratchnet.engines import Array, Engine, reference
from scratchnet.testing.adapters import Arrays, Candidate, candidate_of, required
from scratchnet.testing.failure import LawError, Laws
from scratchnet.testing.magnitude import layer_scale
from scratchnet.testing.museum import EAGER, Bug, of_part, planted
from scratchnet.testing.naming import Evidence, recognise, same, transforms

__tracebackhide__ = True  # pytest shows the line that called us, and the message

LAYER_LAWS = (
    "shapes",
    "inputs not written to",
    "deterministic",
    "second call",
    "gradients",
    "slope at 0",
    "linear in dY",
    "sum over samples",
    "dtype kept",
    "bad input refused",
    "finite far out",
)
TINY = ((1, 1, 1), (1, 2, 1), (1, 1, 2), (2, 1, 1), (1, 2, 2), (2, 2, 2), (3, 2, 3))
"""(B, I, O) of the first problems."""

GENERAL = ((3, 2, 4), (5, 4, 3), (1, 3, 2), (4, 5, 4), (3, 3, 3), (1, 2, 3))
"""(B, I, O) of the random problems: B of 1, 3, 4 and 5, wide, narrow and square."""


class LayerProblem(NamedTuple):
    """A candidate with its input and the gradient that comes in; parameters are set."""

    candidate: Candidate
    x: Array
    params: Arrays
    dy: Array

    def tree(self) -> Arrays:
        return {"X": self.x, **self.params}

    def value(self, tree: Any) -> Any:
        """sum(dY * forward(X)) for a tree of X and parameters, of any dtype."""
        self.candidate.set({key: tree[key] for key in self.params})
        return np.sum(self.dy * self.candidate.forward(tree["X"]))

    def run(self, tree: Any = None, dy: Array | None = None) -> Arrays:
        """The candidate's own gradients: dX as `X`, the others by their parameters' names."""
        tree = self.tree() if tree is None else tree
        self.candidate.set({key: tree[key].copy() for key in self.params})
        self.candidate.forward(tree["X"].copy())
        dX, grads = self.candidate.backward((self.dy if dy is None else dy).copy())
        return {"X": np.array(dX), **{key: np.array(grad) for key, grad in grads.items()}}

    def right(self) -> Arrays:
        """The gradients by the complex step, or by central differences where that is unfit."""
        try:
            found: Arrays = gradcheck.complex_step(self.value, self.tree())
        except ValueError:
            found = gradcheck.central_difference(self.value, self.tree())
        return found

    def shown(self) -> dict[str, Array]:
        return {"X": self.x, **self.params, "dY": self.dy}


def whole(rng: np.random.Generator, shape: tuple[int, ...], level: int) -> Array:
    """Small integers: ones, then 1, 2, 3, -1, ..., then random ones from -2 to 2."""
    size = int(np.prod(shape))
    if level == 0:
        return np.ones(shape)
    if level == 1:
        return np.resize(np.array([1.0, 2.0, 3.0, -1.0, -2.0]), size).reshape(shape)
    return rng.integers(-2, 3, shape).astype(float)


class Maker:
    """Problems for a layer, whatever it was given as."""

    def __init__(self, layer: Any, inputs: int | None, columns: bool, rng: np.random.Generator):
        self.layer, self.inputs, self.columns, self.rng = layer, inputs, columns, rng
        made = isinstance(layer, type) or not hasattr(layer, "forward")
        if inputs is None and not made:
            raise TypeError(
                "check_layer: an instance needs input_shape=, the shape of one sample. "
                "Or hand over the class, or lambda inputs, outputs: YourLayer(...)."
            )

    @cached_property
    def structure(self) -> Structure | None:
        """What the forward is, by random problems."""
        return structure_of([self.make(size, None) for size in GENERAL])

    def make(self, size: tuple[int, int, int], level: int | None) -> LayerProblem:
        """Integers for a level, random numbers for None."""
        batch, inputs, outputs = size
        inputs = self.inputs or inputs
        candidate = candidate_of(self.layer, inputs, outputs, batch, self.columns)
        params = candidate.parameters()
        rng = self.rng
        if level is None:
            params = {k: rng.normal(0, 1, np.shape(v)) for k, v in params.items()}
            x = rng.normal(0, 1, (batch, inputs))
        else:
            params = {k: whole(rng, np.shape(v), level) for k, v in params.items()}
            x = whole(rng, (batch, inputs), level)
        candidate.set({key: value.copy() for key, value in params.items()})
        y = candidate.forward(x.copy())
        dy = np.array(
            rng.normal(0, 1, y.shape) if level is None else whole(rng, y.shape, min(level, 1))
        )
        return LayerProblem(candidate, x, params, dy)

    def problems(self, examples: int) -> Iterator[LayerProblem]:
        sizes = dict.fromkeys((b, self.inputs or i, o) for b, i, o in TINY)
        for size in sizes:
            for level in (0, 1, 2, 2):
                yield self.make(size, level)
        for k in range(examples):
            yield self.make(GENERAL[k % len(GENERAL)], None)


# --- what the forward is ------------------------------------------------------------------------


class Structure(NamedTuple):
    """A forward that is f(X W + b) or f(X), with the names of its parameters."""

    activation: str
    W: str | None
    b: str | None
    flipped: bool
    """Whether W is stored (O, I)."""


def structure_of(problems: list[LayerProblem]) -> Structure | None:
    """The structure that gives every problem's outputs, or None."""
    first = problems[0]
    matrices = [key for key, value in first.params.items() if value.ndim == 2 and key != "b"]
    flat = {k for k, v in first.params.items() if v.size == max(v.shape, default=0)}
    choices = [Structure(f, None, None, False) for f in reference.ENGINE.activations]
    for f in reference.ENGINE.activations:
        for W in matrices:
            others = [k for k in first.params if k != W and k in flat]
            for b in [None, *others]:
                choices += [Structure(f, W, b, flipped) for flipped in (False, True)]
    for structure in choices:
        named = {structure.W, structure.b} - {None}
        if named == set(first.params) and all(fits(structure, p) for p in problems):
            return structure
    return None


def parts_of(structure: Structure, problem: LayerProblem) -> tuple[Array | None, Array | None]:
    W = None if structure.W is None else problem.params[structure.W]
    if W is not None and structure.flipped:
        W = W.T
    b = None if structure.b is None else problem.params[structure.b].reshape(-1)
    return W, b


def fits(structure: Structure, problem: LayerProblem) -> bool:
    W, b = parts_of(structure, problem)
    problem.candidate.set({key: value.copy() for key, value in problem.params.items()})
    y = problem.candidate.forward(problem.x.copy())
    if W is not None and (
        W.shape[0] != problem.x.shape[1] or (b is not None and b.size != len(W.T))
    ):
        return False
    Z = problem.x if W is None else reference.dense(problem.x, np.ascontiguousarray(W), b)
    return same({"y": y}, {"y": reference.ENGINE.activations[structure.activation].forward(Z)})


def gradients_by(
    engine: Engine, structure: Structure, problem: LayerProblem, eager: float
) -> Arrays:
    """What this engine, with or without a bug in it, gives for the problem."""
    W, b = parts_of(structure, problem)
    f = engine.activations[structure.activation]
    if W is None:
        A = f.forward(problem.x.copy())
        return {"X": f.backward(problem.dy, problem.x, A)}
    W = np.ascontiguousarray(W)
    Z = reference.dense(problem.x, W, b)
    dZ = f.backward(problem.dy, Z, f.forward(Z.copy()))
    dW, db = np.zeros_like(W), None if b is None else np.zeros_like(b)
    dX = engine.dense_backward(dZ, problem.x, W, dW, db, True)
    if eager and dX is not None:
        dX = dX + (eager - EAGER) / EAGER * (dX - dZ @ W.T)
    found = {"X": dX, structure.W: dW.T if structure.flipped else dW}
    if db is not None and structure.b is not None:
        found[structure.b] = db.reshape(problem.params[structure.b].shape)
    return {str(key): np.asarray(value) for key, value in found.items()}


def eager_rate(structure: Structure, problem: LayerProblem, wrong: Arrays) -> float:
    """The learning rate c for which dX = dZ (W - c dW)^T is nearest to the wrong dX, or 0."""
    right = gradients_by(reference.ENGINE, structure, problem, 0.0)["X"]
    moved = gradients_by(planted("dX after the update"), structure, problem, 0.0)["X"]
    direction = (moved - right) / EAGER
    if wrong["X"].shape != right.shape or not np.any(direction):
        return 0.0
    return float(np.vdot(direction, wrong["X"] - right) / np.vdot(direction, direction))


# --- naming -------------------------------------------------------------------------------------


def activation_of(bug: Bug) -> str:
    """The activation whose derivative a bug spoils."""
    return "softmax" if bug.setting.head == "softmax" else bug.setting.hidden


def layer_variants(
    problem: LayerProblem, right: Arrays, structure: Structure | None, c: float
) -> Any:
    """name -> what that bug gives for the problem."""
    found: dict[str, Arrays] = {}
    samples = [np.where(np.arange(len(problem.dy)) == i, 1.0, 0.0) for i in range(len(problem.dy))]
    shares = [
        problem._replace(dy=problem.dy * s.reshape(-1, *[1] * (problem.dy.ndim - 1))).right()
        for s in samples
    ]
    made = {key: transforms(value, [s[key] for s in shares], None) for key, value in right.items()}
    # A sample's dX is its own row: no sum over the batch stands in it.
    made["X"] = transforms(right["X"], [], problem.dy)
    if problem.params:
        made["X"] |= {
            "factor B too large": right["X"] * len(problem.dy),
            "factor B too small": right["X"] / len(problem.dy),
        }
    for key, kinds in made.items():
        found |= {f"{key}: {kind}": {**right, key: value} for kind, value in kinds.items()}
    if len(right) > 1:
        for kind in set.intersection(*(set(kinds) for kinds in made.values())):
            found[f"every gradient: {kind}"] = {key: made[key][kind] for key in right}
    if structure is None:
        return found
    bugs = [bug for bug in of_part("activation") if activation_of(bug) == structure.activation]
    if structure.W is not None:
        bugs += of_part("dense")
    for bug in bugs:
        eager = c if bug.name == "dX after the update" else 0.0
        if eager or bug.name != "dX after the update":
            found[bug.name] = gradients_by(planted(bug.name), structure, problem, eager)
    return found


def aliases(structure: Structure | None, params: Arrays) -> dict[str, str]:
    """Descriptions of single tensors that are the museum's bugs."""
    W = [key for key, value in params.items() if value.ndim == 2 and min(value.shape) > 1]
    b = [key for key in params if key not in W]
    found = {f"{key}: transposed": "dW transposed" for key in W}
    for key in b:
        found[f"{key}: first sample"] = "bias of one sample"
        found[f"{key}: factor B too small"] = "mean bias"
        found[f"{key}: one for all"] = "one bias for all"
    if structure is not None and structure.W is None:
        known = {"relu": "relu passes everything", "sigmoid": "sigmoid' forgotten"}
        if structure.activation in known:
            found["X: dY"] = known[structure.activation]
    return found


def likely_bug(maker: Maker, extra: list[LayerProblem]) -> str | None:
    """The likely bug behind wrong gradients, from random problems and the ones given."""
    problems = [maker.make(size, None) for size in GENERAL] + extra
    structure = structure_of(problems[: len(GENERAL)])
    draws, c = [], 0.0
    for place, problem in enumerate(problems):
        right, wrong = problem.right(), problem.run()
        if structure is not None and place >= len(GENERAL):
            right = gradients_by(reference.ENGINE, structure, problem, 0.0)  # the slope at a kink
        if structure is not None and structure.W is not None and not c:
            c = eager_rate(structure, problem, wrong)
        draws.append(Evidence(right, wrong, layer_variants(problem, right, structure, c)))
    return recognise(draws, aliases(structure, problems[0].params))


# --- the laws -----------------------------------------------------------------------------------


def _shapes(problem: LayerProblem) -> None:
    owner, got = problem.candidate.name, problem.run()
    for key, value in problem.tree().items():
        if key not in got:
            raise LawError(owner, "shapes", f"there is no gradient of {key}", problem.shown())
        if got[key].shape != np.shape(value):
            turned = got[key].shape == np.shape(value)[::-1]
            raise LawError(
                owner,
                "shapes",
                f"the gradient of {key} has shape {got[key].shape}, expected {np.shape(value)}",
                problem.shown(),
                ("dW transposed" if key != "X" else "X: transposed") if turned else None,
            )


def _untouched(problem: LayerProblem) -> None:
    x, dy = problem.x.copy(), problem.dy.copy()
    problem.candidate.set({key: value.copy() for key, value in problem.params.items()})
    y = problem.candidate.forward(x)
    law, owner = "inputs not written to", problem.candidate.name
    if not np.array_equal(x, problem.x):
        over = same({"x": x}, {"x": reference.sigmoid(problem.x)}) and same({"x": x}, {"x": y})
        bug = "sigmoid overwrites Z" if over else None
        raise LawError(owner, law, "forward changed X", problem.shown() | {"X after": x}, bug)
    problem.candidate.backward(dy)
    for name, before, after in (("X", problem.x, x), ("dY", problem.dy, dy)):
        if not np.array_equal(before, after):
            shown = problem.shown() | {f"{name} after": after}
            raise LawError(owner, law, f"backward changed {name}", shown)
    for key, value in problem.candidate.parameters().items():
        if not np.array_equal(value, problem.params[key]):
            shown = problem.shown() | {f"{key} after": value}
            bug = None
            raise LawError(owner, law, f"{key} is another after backward", shown, bug)


def _repeatable(problem: LayerProblem, laws: Laws) -> None:
    """Three passes in a row, without a `set` between them that could clear anything."""
    candidate, owner = problem.candidate, problem.candidate.name
    candidate.set({key: value.copy() for key, value in problem.params.items()})
    passes = []
    for _ in range(3):
        y = candidate.forward(problem.x.copy()).copy()
        dX, grads = candidate.backward(problem.dy.copy())
        passes.append((y, {"X": dX.copy(), **{key: np.array(g) for key, g in grads.items()}}))
    (y, one), (again, two), (_, three) = passes
    if "deterministic" in laws and not np.array_equal(y, again):
        raise LawError(owner, "deterministic", "forward gave two results", problem.shown())
    for key in one:
        if "second call" in laws and not np.array_equal(one[key], two[key]):
            # Whatever stood there before, each pass adds the same again.
            grown = key != "X" and same({key: three[key] - two[key]}, {key: two[key] - one[key]})
            shown = problem.shown() | {f"d{key} first": one[key], f"d{key} then": two[key]}
            bug = "gradients accumulate" if grown else None
            raise LawError(owner, "second call", f"the gradient of {key} changed", shown, bug)


def _only_rounding(problem: LayerProblem, maker: Maker, one: Arrays, other: Arrays) -> bool:
    """Whether two results for the gradients differ by no more than a right layer's do."""

    def within(allowed: Arrays) -> bool:
        return all(np.all(np.abs(one[key] - other[key]) <= allowed[key]) for key in one)

    known = maker.structure
    return (known is not None and within(by_terms(known, problem))) or within(by_size(problem))


def by_terms(structure: Structure, problem: LayerProblem) -> Arrays:
    """What rounding may do to each gradient of this structure: 1e-12 S + 2 (I + 1) u F.

    S adds up the terms' magnitudes: a saturated tanh's slope 1 - a^2 is only right to u (1 + a^2),
    however small it is. F is S with the way forward in absolute values: the two sums of I + 1 terms
    that Z comes from, ours and the complex one, are each off by at most (I + 1) u of their terms
    (Higham, section 3.1). Where S is below 1e-260 products underflow.
    """
    W, b = parts_of(structure, problem)
    given = structure.activation, problem.x, W, b, problem.dy
    depth = 2 * (problem.x.shape[1] + 1)
    dX, dW, db = (
        1e-12 * np.maximum(S, 1e-260) + depth * gradcheck.UNIT64 * F
        for S, F in zip(layer_scale(*given), layer_scale(*given, forward=True), strict=True)
    )
    allowed = {"X": dX, structure.W: dW.T if structure.flipped else dW}
    if structure.b is not None:
        allowed[structure.b] = db.reshape(problem.params[structure.b].shape)
    return {str(key): value for key, value in allowed.items()}


def by_size(problem: LayerProblem) -> Arrays:
    """The same for a layer of unknown structure: 1e-12 of the size its gradients have elsewhere.

    The terms that cancelled here don't for a dY of other signs; and nearer to 0, where nothing is
    saturated, a slope is as large as its terms. Going there by t shrinks a weight's gradient by t
    as well: 1e-12 is 9,007 u, so at t = 1 / 64 there is room for 140 roundings of those terms.
    """
    rng = np.random.default_rng(0)
    sizes = dict.fromkeys(problem.tree(), 0.0)
    for t in (1, 1 / 8, 1 / 64):
        params = {key: t * value for key, value in problem.params.items()}
        for _ in range(4):
            dy = problem.dy * rng.choice([-1.0, 1.0], problem.dy.shape)
            found = problem._replace(x=t * problem.x, params=params, dy=dy).right()
            for key, value in found.items():
                sizes[key] = max(sizes[key], float(np.max(np.abs(value), initial=0)))
    return {key: np.array(1e-12 * size) for key, size in sizes.items()}


def _gradients(problem: LayerProblem, maker: Maker) -> None:
    try:
        gradcheck.check_gradients(problem.value, problem.tree(), problem.run)
    except gradcheck.GradientError as error:
        report = error.report
    else:
        return
    right, got = problem.right(), problem.run()
    if _only_rounding(problem, maker, right, got):
        return
    shown = problem.shown()
    for key in right:
        if not same({key: got[key]}, {key: right[key]}):
            shown |= {f"d{key} given": got[key], f"d{key} right": right[key]}
    what = f"{report.wrong} of {report.size} entries are wrong"
    raise LawError(problem.candidate.name, "gradients", what, shown, likely_bug(maker, []))


def _slope_at_0(maker: Maker) -> None:
    """At a kink at 0 the slope is the engine's, as in TensorFlow: that of ReLU is 0."""
    structure = maker.structure
    if structure is None or 0.0 not in reference.KINKS.get(structure.activation, ()):
        return
    zero = np.zeros(1)
    slope = reference.ENGINE.activations[structure.activation].backward(np.ones(1), zero, zero)[0]
    problem = maker.make((2, 2, 2), 0)
    params = {key: np.zeros_like(value) for key, value in problem.params.items()}
    problem = problem._replace(x=0 * problem.x, params=params)
    right, got = gradients_by(reference.ENGINE, structure, problem, 0.0), problem.run()
    if not same(right, got):
        what = f"Z = 0 must pass {f'{slope:g} of the' if slope else 'no'} gradient"
        shown = problem.shown() | {"dX given": got["X"], "dX right": right["X"]}
        owner = problem.candidate.name
        raise LawError(owner, "slope at 0", what, shown, likely_bug(maker, [problem]))


def _linear(problem: LayerProblem, maker: Maker) -> None:
    rng = np.random.default_rng(0)
    other = np.asarray(rng.normal(size=problem.dy.shape))
    both = problem.run(dy=2 * problem.dy - 3 * other)
    one, two = problem.run(), problem.run(dy=other)
    apart = {key: both[key] - 2 * one[key] + 3 * two[key] for key in both}
    sizes = {key: 2 * np.abs(one[key]) + 3 * np.abs(two[key]) for key in both}
    for key, size in sizes.items():
        if np.any(np.abs(apart[key]) > 1e-11 * np.max(size, initial=1e-300)):
            # The one result and the sum of two each carry the roundings of terms of this size.
            terms = problem._replace(dy=2 * np.abs(problem.dy) + 3 * np.abs(other))
            each = {key: value / 2 for key, value in apart.items()}
            if _only_rounding(terms, maker, each, {key: np.zeros_like(apart[key]) for key in each}):
                return
            what = f"the gradient of {key} is not linear in dY"
            raise LawError(problem.candidate.name, "linear in dY", what, problem.shown())


def _sum_over_samples(problem: LayerProblem, maker: Maker) -> None:
    """A batch is its rows: outputs row by row, parameters' gradients added up."""
    whole_batch, y = problem.run(), problem.candidate.forward(problem.x.copy()).copy()
    rows = [problem._replace(x=problem.x[i : i + 1], dy=problem.dy[i : i + 1])
            for i in range(len(problem.x))]  # fmt: skip
    each = [row.run() for row in rows]
    outputs = []
    for row in rows:
        row.candidate.set({key: value.copy() for key, value in row.params.items()})
        outputs.append(row.candidate.forward(row.x.copy()).copy())
    found = {key: sum((e[key] for e in each[1:]), each[0][key]) for key in problem.params}
    found |= {"X": np.concatenate([e["X"] for e in each])}
    if not same({"Y": np.concatenate(outputs)}, {"Y": y}) or not (
        same(found, whole_batch) or _only_rounding(problem, maker, found, whole_batch)
    ):
        what = "a batch is not the sum of its samples (rows_independent=False allows that)"
        raise LawError(problem.candidate.name, "sum over samples", what, problem.shown())


def _dtype(problem: LayerProblem) -> None:
    small = {key: value.astype(np.float32) for key, value in problem.tree().items()}
    problem.candidate.set({key: small[key].copy() for key in problem.params})
    y = problem.candidate.forward(small["X"].copy())
    dX, grads = problem.candidate.backward(problem.dy.astype(np.float32))
    kinds = {"Y": y.dtype, "dX": dX.dtype} | {f"d{key}": g.dtype for key, g in grads.items()}
    other = {key: str(kind) for key, kind in kinds.items() if kind != np.float32}
    if other:
        what = "float32 goes in, and something else comes out"
        raise LawError(problem.candidate.name, "dtype kept", what, other)


def _bad_input(problem: LayerProblem) -> None:
    if not any(value.ndim == 2 for value in problem.params.values()):
        return
    problem.candidate.set({key: value.copy() for key, value in problem.params.items()})
    wide = np.ones((len(problem.x), problem.x.shape[1] + 1))
    try:
        y = problem.candidate.forward(wide)
    except Exception:
        return
    shown = {"X": wide, **problem.params, "Y": y}
    what = "samples of one feature too many are taken without an error"
    raise LawError(problem.candidate.name, "bad input refused", what, shown)


def check_layer(
    layer: Any,
    input_shape: int | tuple[int] | None = None,
    *,
    columns: bool = False,
    rows_independent: bool = True,
    skip: tuple[str, ...] = (),
    examples: int = 12,
    rng: np.random.Generator | int | None = 0,
) -> None:
    """Hold a layer to its laws: Y = forward(X), X (B, I), and for any dY the right dX, dW, db.

    The right gradients are d sum(dY * Y) by the complex step of the layer's own forward. The first
    problems are small integers, so that a failure can be worked out by hand.

    Args:
        layer: a class, an instance, or `lambda inputs, outputs: instance`; a scratchnet `Layer`, an
            object with forward(x) and backward(dy) (see `adapters.PlainLayer`), or a `Candidate`.
        input_shape: the features of one sample, for an instance.
        columns: samples stand in columns, (I, B).
        rows_independent: False for layers that look at the whole batch.
        skip: laws not to hold it to, of `LAYER_LAWS`.
        examples: random problems after the small ones.

    Raises:
        LawError: an AssertionError with the law, a small counterexample and the likely bug.
        TypeError: for a layer of a shape that is not understood.

    >>> class Half:
    ...     def forward(self, x):
    ...         return 0.5 * x
    ...     def backward(self, dy):
    ...         return dy
    >>> check_layer(Half)
    Traceback (most recent call last):
    scratchnet.testing.failure.LawError: Half breaks the law 'gradients': 1 of 1 entries are wrong
      X = [[1.]]
      dY = [[1.]]
      dX given = [[1.]]
      dX right = [[0.5]]
      likely bug: not recognised
    """
    laws = Laws(LAYER_LAWS, skip if rows_independent else (*skip, "sum over samples"))
    shape = (input_shape,) if isinstance(input_shape, int) else input_shape
    if shape is not None and len(shape) != 1:
        raise ValueError(f"input_shape={input_shape!r}: expected the features of one sample, (I,).")
    inputs = None if shape is None else shape[0]
    _hold(Maker(layer, inputs, columns, np.random.default_rng(rng)), laws, examples)


def _hold(maker: Maker, laws: Laws, examples: int) -> None:
    """All laws on all problems, the cheap and telling ones first."""
    for problem in maker.problems(examples):
        if "shapes" in laws:
            _shapes(problem)
        if "inputs not written to" in laws:
            _untouched(problem)
        _repeatable(problem, laws)
        if "gradients" in laws:
            _gradients(problem, maker)
    if "slope at 0" in laws:
        _slope_at_0(maker)
    for size in GENERAL:
        problem = maker.make(size, None)
        checks: dict[str, Callable[[LayerProblem], None]] = {
            "linear in dY": partial(_linear, maker=maker),
            "sum over samples": partial(_sum_over_samples, maker=maker),
            "dtype kept": _dtype,
            "bad input refused": _bad_input,
        }
        for law, check in checks.items():
            if law in laws:
                check(problem)


# --- activations --------------------------------------------------------------------------------


class ActivationCandidate(Candidate):
    """A pair of functions as a layer without parameters."""

    def __init__(self, f: Callable[..., Any], df: Callable[..., Any], fed: str):
        self.name = getattr(f, "__name__", "activation")
        self.f, self.df, self.fed, self.arity = f, df, fed, required(df)

    def forward(self, x: Array) -> Array:
        self.Z = x
        self.A = np.asarray(self.f(x))
        return self.A

    def backward(self, dy: Array) -> tuple[Array, Arrays]:
        if self.arity == 1:
            return dy * np.asarray(self.df(self.A if self.fed == "output" else self.Z)), {}
        return np.asarray(self.df(*(dy, self.Z, self.A)[: self.arity])), {}


def check_activation(
    f: Callable[..., Any],
    df: Callable[..., Any],
    *,
    fed: str = "input",
    skip: tuple[str, ...] = (),
    rng: np.random.Generator | int | None = 0,
) -> None:
    """Hold an activation A = f(Z) and its derivative to the laws of a layer without parameters.

    Args:
        df: `df(Z)`, the derivative entry by entry; or `df(dA, Z)` or `df(dA, Z, A)`, giving dZ.
        fed: `"output"` for a `df(A)` that wants f(Z), such as a (1 - a) for the sigmoid.
        skip: laws not to hold it to; `"slope at 0"` asks ReLU'(0) = 0, `"finite far out"` a finite
            f and df at -1000 and 1000.

    Raises:
        LawError: as `check_layer`.

    >>> check_activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    >>> check_activation(np.tanh, lambda z: 1 - z**2)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.testing.failure.LawError: tanh breaks the law 'gradients': 1 of 1 entries are wrong
      ...
      likely bug: looks like "tanh' of Z": dZ = dA (1 - Z^2): ...
    """
    if fed not in ("input", "output"):
        raise ValueError(f"fed={fed!r}: expected 'input' or 'output'.")
    laws = Laws(LAYER_LAWS, (*skip, "sum over samples"))
    candidate = ActivationCandidate(f, df, fed)
    _hold(Maker(lambda: candidate, None, False, np.random.default_rng(rng)), laws, 12)
    if "finite far out" in laws:
        far = np.array([[-1000.0, -40.0, 40.0, 1000.0]])
        with np.errstate(over="ignore", invalid="ignore"):
            A = candidate.forward(far)
            dZ, _ = candidate.backward(np.ones_like(far))
        if not (np.isfinite(A).all() and np.isfinite(dZ).all()):
            what = "f or its derivative is not finite"
            raise LawError(candidate.name, "finite far out", what, {"Z": far, "A": A, "dZ": dZ})

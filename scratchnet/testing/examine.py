"""The laws of a layer, an activation or a loss, asked one after the other, in two ranks.

Right or wrong: finite outputs, the same result twice, a gradient for everything, of the right
shape, equal to what `gradcheck.check_vjp` finds. Hygiene: what right code may do and should not;
remarks, unless `strict`. What fails is made small before it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import scratchnet.testing.excuses as excuses
import scratchnet.testing.hygiene as hygiene
from scratchnet import gradcheck
from scratchnet.engines import Array
from scratchnet.testing.draws import SCALES, Domain, Draws
from scratchnet.testing.failure import LawError, Laws, digits
from scratchnet.testing.naming import LikelyBug
from scratchnet.testing.shrinking import smaller
from scratchnet.testing.subjects.subject import Point, Subject
from scratchnet.testing.symptoms import apart, symptom
from scratchnet.testing.values import right_gradients, wide

__tracebackhide__ = True  # pytest shows the line that called us, and the message

MUST = ("finite", "deterministic", "shapes", "learning", "gradients", "second call")
HYGIENE = (
    *("inputs not written to", "dtype kept", "bias shapes", "bad input refused"),
    *("slope at 0", "finite far out", "epsilon in backward"),
)
MOST = 3
"""How many arrays a report goes into."""


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """How to judge, whatever the subject."""

    seed: int = 0
    tolerance: float | None = None
    strict: bool = False
    skip: tuple[str, ...] = ()
    columns: bool = False
    quick: bool = False
    """One draw only: somebody else draws, one example after the other."""


@dataclass
class Examination:
    """One subject held to its laws; `remarks` and `notes` are filled on the way."""

    subject: Subject
    draws: Draws
    settings: CheckSettings
    name_bug: Callable[[Subject, Point, Array, list[Subject]], LikelyBug] | None
    """What explains a wrong gradient; None where it is only asked whether one is wrong."""
    relatives: Callable[[], list[Subject]] = list
    """The same code bound to other sizes, for naming."""
    remarks: list[str] = field(default_factory=list)
    single: bool = False
    """Whether the inputs' numbers are drawn by rounding to float32 inside."""

    guarded: bool = False
    """Whether an epsilon in forward is left out of backward, so that only mild draws are judged."""

    def __post_init__(self) -> None:
        self.laws = Laws(MUST + HYGIENE, self.settings.skip)
        self.shapes: dict[str, str] = {}
        self.subject.columns = self.settings.columns

    def run(self) -> int:
        """Every law; the number of points that gradients were judged at."""
        first = self.draws.start
        self._deterministic(first)
        if self.settings.strict:
            self._hygiene(first, "inputs not written to")
        points = self._points(first)
        for number, point in enumerate(points):
            self._gradients(point, number)
        if "second call" in self.laws:
            self._second_call(first)
        self._far_losses(first)
        for law in hygiene.LAWS:
            self._hygiene(first, law)
        return len(points)

    def _hygiene(self, first: Point, law: str) -> None:
        bounded = any(domain != Domain() for domain in self.draws.domains.values())
        if law in ("finite far out", "slope at 0") and bounded:
            return
        if law in self.laws and self.subject.raw and not self.settings.quick:
            dy = self.dy(self.subject.output(first), 0)
            hygiene.LAWS[law](self.subject, first, dy, self.hygiene)

    def _far_losses(self, first: Point) -> None:
        """A loss of any numbers is a number for large ones: 0 * log 0 would end a training."""
        if not self.subject.style.targets or "finite" not in self.laws:
            return
        for name in self.subject.inputs:
            if self.draws.domains[name] != Domain():
                continue
            far = np.resize(np.array(hygiene.FAR), first[name].shape)
            y = self.subject.output(first | {name: far})
            if np.isnan(y).any():
                what = "the loss is NaN for inputs of -1000 and 1000"
                raise self._error(
                    "finite", what, {name: far, "loss": y, **_constants(self.subject)}
                )

    # --- points

    def _points(self, first: Point) -> list[Point]:
        """The point handed over, then wider ones, as long as the outputs there are finite."""
        points = [first]
        if not np.isfinite(self.subject.output(first)).all():
            y = self.subject.output(first)
            what = f"{np.sum(~np.isfinite(y))} of {y.size} outputs are not finite"
            raise self._error("finite", what, dict(first))
        for number, scale in enumerate(SCALES[: 1 if self.settings.quick else None], 1):
            for point in (self.draws.point(scale, number), self.draws.mild(scale, number)):
                if self._is_finite(point):
                    points.append(point)
                    break
            else:
                self._overflows(scale, point)
        return points[:1] if self.settings.quick else points

    def _is_finite(self, point: Point) -> bool:
        try:
            return bool(np.isfinite(self.subject.output(point)).all())
        except Exception:
            return False

    def _overflows(self, scale: float, point: Point) -> None:
        if scale <= 4 and "finite" in self.laws:
            y = self.subject.output(point)
            raise self._error("finite", "the output is not finite", dict(point) | {"output": y})
        self.hygiene("finite far out", "the output is not finite for inputs of about 12")

    # --- right or wrong

    def _deterministic(self, point: Point) -> None:
        one, two = self.subject.output(point), self.subject.output(point)
        if not _same(one, two):
            if "deterministic" not in self.laws:
                return
            shown = dict(point) | {"output": one, "output again": two}
            what = "the same input gives two results: seed what is random inside, or train=False"
            raise self._error("deterministic", what, shown)

    def dy(self, y: Array, number: int) -> Array:
        """The gradient that comes in: ones for a loss, else of either sign, exact in float32."""
        if not self.subject.takes_dy:
            return np.full(y.shape, 1.0 / self.subject.share)
        rng = np.random.default_rng([self.settings.seed, number, 2])
        drawn = rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)
        return drawn.astype(np.float32).astype(np.float64)

    def _gradients(self, point: Point, number: int) -> None:
        y = self.subject.output(point)
        dy = self.dy(y, number)
        self._complete(point, dy, self.subject.gradients(point, dy))
        report = self.judged(self.subject, point, dy)
        if report is None or "gradients" not in self.laws or self._excused(point, dy, number):
            return
        self.fail(point, dy, report)

    def _excused(self, point: Point, dy: Array, number: int) -> bool:
        """Whether an epsilon or a clip in forward explains it, that backward leaves out."""
        if self.guarded or self.settings.strict:
            return self.guarded
        got = self.conformed(self.subject.gradients(point, dy), point)
        law = "epsilon in backward"
        if number > 1:
            flat = excuses.clipped(self.subject, point, dy, got)
            if flat:
                self.hygiene(law, "the loss is flat far out (a clip?), its gradient is not")
            return flat
        off = excuses.epsilon_left_out(self.subject, point, dy, got)
        self.guarded = off is not None
        if self.guarded:
            self.hygiene(law, f"gradients agree to {off:.1g}: does backward leave an epsilon out?")
        return self.guarded

    def judged(self, subject: Subject, point: Point, dy: Array) -> gradcheck.Report | None:
        """None where check_vjp agrees, else its report."""
        if not point:
            return None
        if not self.single and _rounds_to_float32(subject.output(point)):
            self.single = True
            subject.notes.append("float32 inside: judged by what float32 allows")

        def backward(at: Point, dy: Array) -> Point:
            return self.conformed(subject.gradients(at, np.asarray(dy, np.float64)), at)

        try:
            gradcheck.check_vjp(
                lambda at: wide(subject.output(at)),
                backward,
                point,
                dy=dy,
                coordinates="arrays",
                tolerance=self.settings.tolerance,
                rng=self.settings.seed,
            )
        except gradcheck.GradientError as error:
            return None if self._only_rounding(subject, point, dy) else error.report
        except ValueError as error:
            raise self._unjudged(error, point, dy) from error
        return None

    def _only_rounding(self, subject: Subject, point: Point, dy: Array) -> bool:
        if excuses.loses_digits(subject, point, dy):
            text = "where forward itself loses its digits nothing is judged"
            self.remarks += [text] if text not in self.remarks else []
            return True
        got = self.conformed(subject.gradients(point, dy), point)
        return excuses.only_rounding(subject, point, dy, got, 2.0 ** (-24 if self.single else -53))

    def _unjudged(self, error: ValueError, point: Point, dy: Array) -> LawError:
        """What check_vjp refuses to judge is a law of its own."""
        law = "deterministic" if "deterministic" in str(error) else "finite"
        got = self.subject.gradients(point, dy)
        return self._error(law, str(error), {**point, **{f"d{k}": v for k, v in got.items()}})

    def conformed(self, got: Point, point: Point) -> Point:
        """Gradients in the shapes of their arrays, where only axes of length 1 differ."""
        made = {}
        for name, value in point.items():
            gradient = np.asarray(got[name])
            gradient = gradient if gradient.dtype.kind == "f" else gradient.astype(np.float64)
            if gradient.shape != value.shape and gradient.size == value.size:
                gradient = gradient.reshape(value.shape)
            made[name] = gradient.astype(np.float32) if self.single else gradient
        return made

    def _complete(self, point: Point, dy: Array, got: Point) -> None:
        """There is a gradient for everything, of as many numbers, and in the same order of axes."""
        for name, value in point.items():
            gradient = got[name]
            if gradient.shape == () and value.shape != () and np.isnan(gradient):
                what = f"backward leaves no gradient of {name}: nothing would be learned"
                raise self._error("learning", what, {name: value})
            if gradient.shape == value.shape:
                continue
            what = f"the gradient of {name} has shape {gradient.shape}, expected {value.shape}"
            trimmed = [tuple(n for n in a.shape if n > 1) for a in (gradient, value)]
            if trimmed[0] == trimmed[1]:
                if name not in self.shapes:
                    self.shapes[name] = what
                    self.hygiene("bias shapes", what)
            elif "shapes" in self.laws:
                turned = gradient.shape == value.shape[::-1]
                bug = "dW transposed" if name in self.subject.parameters else f"{name}: transposed"
                shown = {**point, "dY": dy, f"d{name}": gradient}
                raise self._error("shapes", what, shown, bug if turned else None)

    def _second_call(self, point: Point) -> None:
        """A second pass adds nothing to what the first one left."""
        if self.subject.style.accumulates:
            return
        dy = self.dy(self.subject.output(point), 0)
        passes = self.subject.repeated(point, dy, 3)
        (y, one), (again, two), (_, three) = passes
        if not _same(y, again):
            text = (
                "a second pass gives another output, a state is carried over: the first is judged"
            )
            self.remarks.append(text)
            return
        for name in one:
            if not _same(one[name], two[name]):
                grown = np.allclose(three[name] - two[name], two[name] - one[name], rtol=1e-9)
                what = f"the gradient of {name} is another after a second pass on the same numbers"
                shown = {f"d{name} first": one[name], f"d{name} then": two[name]}
                bug = "gradients accumulate" if grown else None
                raise self._error("second call", what, shown, bug)

    # --- telling

    def hygiene(
        self, law: str, what: str, shown: dict[str, Any] | None = None, bug: Any = None
    ) -> None:
        """A remark, or a failure where `strict` asks for it."""
        if law not in self.laws:
            return
        if self.settings.strict:
            raise self._error(law, what, shown or {}, bug)
        self.remarks.append(f"{law}: {what}")

    def _error(self, law: str, what: str, shown: dict[str, Any], bug: Any = None) -> LawError:
        return LawError(self.subject.name, law, what, shown, bug, remarks=self.remarks)

    def fail(self, point: Point, dy: Array, report: gradcheck.Report) -> None:
        """Raise the failure, on the smallest example found, with values that two methods give."""
        self.subject.last_point = point
        if self.name_bug is None:
            raise self._error("gradients", "wrong", {})
        subject, point, dy = smaller(self.subject, point, dy, self.judged)
        got = self.conformed(subject.gradients(point, dy), point)
        right, method = right_gradients(subject, point, dy, got)
        wrong = [name for name in point if differing(got[name], right[name]).any()]
        wrong = wrong or [name for name in point if f"['{name}']" in report.path]
        shown = _arrays(subject, point, dy, wrong)
        observed, count = list[str](), dict[str, int]()
        for name in wrong:
            if len(count) < MOST:
                shown |= _entries(name, got[name], right[name], 3 if len(wrong) < 2 else 1)
            count[name] = int(np.sum(differing(got[name], right[name])))
            seen = _seen(f"d{name}", got[name], right[name], dict(point) | {"dY": dy})
            observed += [seen] if seen else []
        asked = {name: int(np.sum(~np.isnan(right[name]))) for name in wrong}
        text = ", ".join(f"{count[n]} of {asked[n]} entries of d{n}" for n in wrong[:MOST])
        text += f" and in {len(wrong) - MOST} more arrays" if len(wrong) > MOST else ""
        rest = [f"d{name}" for name in point if name not in wrong]
        few = ", ".join(rest[:MOST]) + (" ..." if len(rest) > MOST else "")
        what = f"wrong in {text}" + (f"; {few} right" if rest else "")
        bug = self.name_bug(subject, point, dy, self.relatives())
        remarks = [f"right values: {method}", *self.remarks]
        raise LawError(
            subject.name, "gradients", what, shown, bug.name, "; ".join(observed[:2]), remarks
        )


def differing(given: Array, right: Array) -> Array:
    """Which entries differ, of those that were asked for."""
    return apart(given, np.where(np.isnan(right), given, right))


def _same(one: Array, other: Array) -> bool:
    """Equal but for the order in which something was summed."""
    if one.shape != other.shape:
        return False
    size = np.max(np.abs(one), initial=0, where=np.isfinite(one))
    return bool(np.allclose(one, other, rtol=1e-12, atol=1e-12 * size, equal_nan=True))


def _constants(subject: Subject) -> dict[str, Any]:
    """Arguments that have no gradient: labels, targets, indices."""
    names = subject.style.arguments
    return {
        names[at] if at < len(names) else f"x{at}": arg
        for at, arg in enumerate(subject.given)
        if at not in subject.inputs.values() and isinstance(arg, np.ndarray)
    }


def _seen(name: str, given: Array, right: Array, point: dict[str, Array]) -> str:
    if np.isnan(right).any():
        kept = ~np.isnan(right)
        return symptom(name, given[kept], right[kept], {})
    return symptom(name, given, right, point)


def _arrays(subject: Subject, point: Point, dy: Array, wrong: list[str]) -> dict[str, Any]:
    """What the example is made of: inputs and wrong arrays, the others by their shapes."""
    given = _constants(subject) | ({"dY": dy} if subject.takes_dy else {})
    first = [*list(subject.inputs)[:1], *wrong]
    order = list(dict.fromkeys([*first, *subject.inputs, *point]))
    shown = {name: point[name] for name in order[: MOST + 1]}
    rest = [f"{name} {point[name].shape}" for name in order[MOST + 1 :]]
    return shown | ({"others": ", ".join(rest)[:160]} if rest else {}) | given


def _entries(name: str, given: Array, right: Array, most: int) -> dict[str, str]:
    """The entries that differ most."""
    off = np.where(differing(given, right), np.abs(given - right), 0)
    order = np.argsort(-off, axis=None, kind="stable")[: min(most, int(np.sum(off > 0)) or 1)]
    made = {}
    for flat in order:
        place = np.unravel_index(flat, right.shape)
        index = f"[{', '.join(map(str, place))}]" if place else ""
        one, other = digits(float(given[place]), float(right[place]))
        made[f"d{name}{index}"] = f"{one}, right: {other}"
    return made


def _rounds_to_float32(y: Array) -> bool:
    """Whether all these numbers are float32's, which doubles that were computed with are not."""
    if y.dtype.itemsize < 8 and y.dtype.kind == "f":
        return True
    real = np.asarray(y, np.float64)
    real = real[(np.abs(real) > 0) & (np.abs(real) != 1)]
    return real.size >= 4 and bool(np.all(real == real.astype(np.float32)) and np.any(real % 0.25))

"""The table of gradient checkers in docs/test_your_gradients.md: python -m tests.subjects.rivals

Every checker gets the same pure functions: the outputs of a subject as a function of its arrays, and
the gradients that its own backward gives. So each rival is spared the work of finding its way in
somebody's code, and only its judgement is compared. Rivals that are not installed are said to be
missing. CS231n's is written anew here: central differences with h = 1e-5 of every entry, and the
relative error of the worst, right below 1e-7 as the course's notes say.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet.testing import LawError, check, checking
from tests.subjects.load import load, styles
from tests.subjects.slips import SLIPS

PAGE = Path(__file__).parents[2] / "docs" / "test_your_gradients.md"
Function = Callable[[np.ndarray], np.ndarray]
Case = tuple[Function, Callable[[np.ndarray, np.ndarray], np.ndarray], np.ndarray]
"""y(x), dx(x, dy) and x, all flat vectors."""


def readings(call: Callable[[], Any], passing: bool) -> list[Any]:
    """The examinations that a call to `check` makes: all readings of the code, or until one passes."""
    seen: list[Any] = []
    honest = checking.Examination.run

    def run(examination: Any) -> int:
        seen.append(examination)
        if passing:
            return honest(examination)
        raise LawError("none", "gradients", "the next reading, please")

    checking.Examination.run = run
    try:
        call()
    except LawError:  # an optimizer is judged at once, and is no case for the others
        pass
    finally:
        checking.Examination.run = honest
    return seen


def case_of(call: Callable[[], Any], right: Callable[[], Any]) -> Case | None:
    """The subject of a call, as functions of one flat vector; None for an optimizer.

    Where the code can be read in several ways, it is read as `right`, without the slip, is right.
    """
    place = len(readings(right, passing=True)) - 1
    seen = readings(call, passing=False)
    if not seen:
        return None
    chosen = seen[min(place, len(seen) - 1)]
    subject, start = chosen.subject, chosen.draws.start
    shapes = {name: value.shape for name, value in start.items()}
    ends = np.cumsum([value.size for value in start.values()])[:-1]

    def tree(x: np.ndarray) -> dict[str, np.ndarray]:
        return {n: p.reshape(shapes[n]) for n, p in zip(shapes, np.split(x, ends), strict=True)}

    def output(x: np.ndarray) -> np.ndarray:
        y = np.ravel(subject.output(tree(np.asarray(x, np.float64))))
        return y if subject.takes_dy else np.sum(y, keepdims=True) / subject.share

    like = subject.output(start)

    def backward(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
        at = tree(np.asarray(x, np.float64))
        if not subject.takes_dy:  # a loss's gradient is not told what stands behind the loss
            scale, dy = dy.item(), np.ones(like.shape)
        else:
            scale = 1.0
        got = subject.gradients(at, np.reshape(dy, like.shape))
        return scale * np.concatenate([np.broadcast_to(got[n], shapes[n]).ravel() if got[n].size == 1
                                       else got[n].ravel() for n in shapes])  # fmt: skip

    return output, backward, np.concatenate([value.ravel() for value in start.values()])


def weights(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)


# --- the rivals: True where they call it right ----------------------------------------------------


def cs231n(case: Case) -> bool:
    f, backward, x = case
    dy = np.ones(f(x).shape) if len(f(x)) == 1 else weights(f(x), np.random.default_rng(0))
    analytic, numeric, h = backward(x, dy), np.zeros_like(x), 1e-5
    for i in range(x.size):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        numeric[i] = np.sum(dy * (f(up) - f(down))) / (2 * h)
    off = np.abs(analytic - numeric) / np.maximum(1e-8, np.abs(analytic) + np.abs(numeric))
    return bool(np.max(off) < 1e-7)


def scipy_check_grad(case: Case) -> bool:
    """`check_grad` gives a number; its documentation leaves to the reader what is small: 1e-6 here."""
    from scipy.optimize import check_grad

    f, backward, x = case
    dy = np.ones(1) if len(f(x)) == 1 else weights(f(x), np.random.default_rng(0))
    off = check_grad(lambda x: float(np.sum(dy * f(x))), lambda x: backward(x, dy), x)
    return bool(off < 1e-6)


def autograd_check_grads(case: Case) -> bool:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    f, backward, x = case
    wrapped = primitive(f)
    defvjp(wrapped, lambda ans, x: lambda dy: backward(x, dy))
    try:
        check_grads(wrapped, modes=["rev"], order=1)(x)
    except AssertionError:
        return False
    return True


def torch_gradcheck(case: Case) -> bool:
    import torch

    f, backward, x = case

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.from_numpy(np.array(f(x.detach().numpy())))

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return torch.from_numpy(np.array(backward(x.detach().numpy(), dy.numpy())))

    point = torch.from_numpy(x.copy()).requires_grad_()
    return bool(torch.autograd.gradcheck(Wrapped.apply, (point,), raise_exception=False))


RIVALS: dict[str, tuple[str, Callable[[Case], bool]]] = {
    "torch.autograd.gradcheck": ("torch", torch_gradcheck),
    "autograd.test_util.check_grads": ("autograd", autograd_check_grads),
    "scipy.optimize.check_grad": ("scipy", scipy_check_grad),
    "CS231n's gradient check": ("numpy", cs231n),
}


def ours(call: Callable[[], Any]) -> bool:
    try:
        call()
    except LawError:
        return False
    return True


# --- the table ------------------------------------------------------------------------------------


def score(
    judge: Callable[[Any], bool], given: list[tuple[Any, bool]]
) -> tuple[int, int, int, float]:
    """(right called wrong, wrong called right, exceptions, seconds)."""
    alarms = misses = raised = 0
    began = time.process_time()
    for one, right in given:
        try:
            verdict = judge(one)
        except Exception:
            raised += 1
            continue
        alarms += right and not verdict
        misses += verdict and not right
    return alarms, misses, raised, time.process_time() - began


def subjects() -> list[tuple[Callable[[], Any], Case, bool]]:
    """Every call that has a case, right ones and planted ones."""
    found = []
    for style in styles():
        right = load(style).CALLS
        for call in right.values():
            case = case_of(call, call)
            if case is not None:
                found.append((call, case, True))
        for name, old, new, _ in SLIPS[style]:
            call = load(style, old, new).CALLS[name]
            case = case_of(call, right[name])
            if case is not None:
                found.append((call, case, False))
    return found


def row(name: str, scored: tuple[int, int, int, float], right: int, wrong: int) -> str:
    alarms, misses, raised, seconds = scored
    return f"| {name} | {alarms} of {right} | {misses} of {wrong} | {raised} | {seconds:.0f} s |"


def main() -> None:
    all_of_them = subjects()
    right = sum(is_right for _, _, is_right in all_of_them)
    wrong = len(all_of_them) - right
    head = ["checker", "right code called wrong", "slips called right", "exceptions", "time"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    mine = score(ours, [(call, is_right) for call, _, is_right in all_of_them])
    lines.append(row("`scratchnet.testing.check`", mine, right, wrong))
    for name, (package, judge) in RIVALS.items():
        if importlib.util.find_spec(package) is None:
            lines.append(f"| `{name}` | not installed | | | |")
            continue
        cases = [(case, is_right) for _, case, is_right in all_of_them]
        lines.append(row(f"`{name}`", score(judge, cases), right, wrong))
    before, rest = PAGE.read_text().split("<!-- rivals -->\n")
    after = rest.split("<!-- /rivals -->")[1]
    table = "\n".join(lines)
    PAGE.write_text(f"{before}<!-- rivals -->\n{table}\n<!-- /rivals -->{after}")
    print(table)


if __name__ == "__main__":
    assert check
    main()

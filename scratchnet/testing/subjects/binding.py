"""`bind`: try somebody's code once, find its parameters and gradients, and make a `Subject`.

What can't be called is a `SubjectError` with the place in somebody's code and the argument that
would tell more. Read `finding.py` for where gradients are looked for.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from scratchnet.testing.subjects import finding, names
from scratchnet.testing.subjects.options import Options, SubjectError
from scratchnet.testing.subjects.parameters import constants, is_float
from scratchnet.testing.subjects.state import Snapshot
from scratchnet.testing.subjects.styles import Pass, Style
from scratchnet.testing.subjects.subject import Subject, copies, quiet


def bind(
    style: Style, args: list[Any], options: Options, targets_at: tuple[int, ...] = ()
) -> Subject:
    """A subject of this style, tried on these arguments, of which the targets have no gradient."""
    style.targets = style.targets or targets_at
    # Arrays within an argument, such as a dict of weights, are parameters as an object's own are.
    named = zip(style.arguments, args, strict=False)
    held = {name: arg for name, arg in named if isinstance(arg, dict | list)}
    style.roots = (*style.roots, *([SimpleNamespace(**held)] if held else []))
    subject = Subject(style, args)
    subject.mean_gradients, subject.columns = options.mean_gradients, options.columns
    with quiet():
        first = subject.state
        _try(subject, first)
        state = _settled(subject, first, args, options)
        stays = constants(state, lambda: style.call(copies(args)))
        state.restore()
        done, returned = _try(subject, state)
        subject.random = _is_random(subject, done, state)
        finding.inputs(subject, returned, options)
        finding.parameters(subject, stays, state, returned, options)
        state.restore()
    return subject


def _try(subject: Subject, state: Snapshot) -> tuple[Pass, Any]:
    """One pass both ways; what goes wrong is told with the place in somebody's code."""
    style = subject.style
    state.reseed()
    try:
        done = style.call(copies(subject.given))
    except SubjectError:
        raise
    except (Exception, SystemExit) as error:
        shapes = ", ".join(str(getattr(arg, "shape", type(arg).__name__)) for arg in subject.given)
        raise SubjectError(
            f"{style.name}: forward raised {type(error).__name__}: {error}",
            looked=f"forward({', '.join(style.arguments[: len(subject.given)])}) on {shapes}",
            found=f"forward({', '.join(style.arguments)})",
            say='x= of another shape or several inputs (x, h), extra=, or forward="method"',
        ) from error
    dys = [np.ones_like(y, dtype=np.float64 if y.dtype.kind != "f" else None) for y in done.outputs]
    try:
        return done, style.pull(done, dys)
    except SubjectError:
        raise
    except (Exception, SystemExit) as error:
        wanted = names.required(style.backward) if style.backward else []
        raise SubjectError(
            f"{style.name}: backward raised {type(error).__name__}: {error}",
            looked=f"backward({', '.join(wanted)}) with the gradient of {done.outputs[0].shape}",
            found=f"{len(done.outputs)} outputs from forward",
            say='backward="method" or a function, or output= where the output is another',
        ) from error


def _settled(subject: Subject, first: Snapshot, args: list[Any], options: Options) -> Snapshot:
    """The state that each pass begins from: as handed over, or after what the first call makes."""
    style = subject.style
    reset = options.reset if callable(options.reset) else None
    owner = style.owner
    if reset is None and owner is not None:
        said = (options.reset,) if isinstance(options.reset, str) else names.RESET
        reset = names.method(owner, said)
    subject.reset = reset
    lists = {id(own): (own, len(own)) for own, _ in first.containers if isinstance(own, list)}
    lengths = {key: len(own) for key, (own, _) in lists.items()}
    _try(subject, first)
    for key, (own, was) in lists.items():
        if len(own) > lengths[key] > was:
            del own[was:]  # it grows with every call: a tape
    if reset is not None:
        reset()
    later = Snapshot(*style.roots)
    known = {id(array) for array, _ in first.arrays}
    made = [
        h for h in constants(later, lambda: style.call(copies(args))) if id(h.value) not in known
    ]
    stable = not _is_random(subject, style.call(copies(args)), first)
    lazy = [
        h for h in made if stable and is_float(h.value) and finding.influences(subject, later, h)
    ]
    if lazy or (reset is not None and options.reset):
        subject.state = later
        return later
    if reset is not None:
        reset()
    first.restore()
    return first


def _is_random(subject: Subject, done: Pass, state: Snapshot) -> bool:
    state.restore()
    again, _ = _try(subject, state)
    return any(
        not np.array_equal(a, b, equal_nan=True)
        for a, b in zip(done.outputs, again.outputs, strict=True)
    )

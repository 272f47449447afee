"""Which style somebody's code is in: by its methods and arguments, never by a value.

`style_of` takes an object, a class, a factory, a function or a pair of functions, with the arrays
that it will be called on, and gives the styles in which it can be read, the likeliest first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from scratchnet.testing.subjects import names
from scratchnet.testing.subjects.names import plain, required
from scratchnet.testing.subjects.options import Options, SubjectError
from scratchnet.testing.subjects.styles import (
    ClosureStyle,
    ContextStyle,
    GraphStyle,
    Style,
    TogetherStyle,
)

UNITS = {
    *("out", "outputs", "output", "units", "nunits", "nout", "neurons", "nneurons", "outputsize"),
    *("outputdim", "outfeatures", "noutputs", "fanout", "hidden", "hiddensize", "nhidden"),
    *(
        "cout",
        "outc",
        "numfilters",
        "outdim",
        "filters",
        "nfilters",
        "hiddendim",
        "dout",
        "outchannels",
        "sizeout",
        "m",
    ),
}
OUTPUTS = 2
"""Units of a layer that is made here."""


def styles_of(subject: Any, args: list[Any], options: Options) -> list[Style]:
    """The readings of a subject, the likeliest first."""
    if isinstance(subject, tuple | list):
        return _pair(subject, args, options)
    if isinstance(subject, type) and _has_context(subject):
        return [ContextStyle(subject.__name__, subject, options)]
    if _is_factory(subject, options):
        subject = made(subject, args)
        if isinstance(subject, tuple | list):
            return _pair(subject, args, options)
    if inspect.isroutine(subject) or isinstance(subject, np.ufunc):
        return _function(subject, args, options)
    return _object(subject, args, options)


def forward_of(subject: Any, options: Options) -> Callable[..., Any] | None:
    """The forward of a subject, as far as it can be told without making or calling it."""
    if callable(options.forward):
        return options.forward
    if isinstance(subject, tuple | list):
        return subject[0] if callable(subject[0]) else None
    if inspect.isroutine(subject) and not _is_factory(subject, options):
        return subject
    if inspect.isroutine(subject):
        return None
    known = (options.forward,) if options.forward else names.FORWARD
    found = names.method(subject, known)
    if isinstance(subject, type) and found is not None:
        static = isinstance(inspect.getattr_static(subject, found.__name__, None), staticmethod)
        return found if static else functools.partial(found, None)
    return found


def _has_context(subject: type) -> bool:
    forward = getattr(subject, "forward", None)
    return callable(forward) and next(iter(required(forward)), "") == "ctx"


def _is_factory(subject: Any, options: Options) -> bool:
    if isinstance(subject, type):
        return True
    if not inspect.isroutine(subject) or options.forward is not None:
        return False
    return not required(subject) or all(plain(n) in UNITS | INPUTS for n in required(subject))


INPUTS = {
    *("inputs", "input", "nin", "ninputs", "inputsize", "inputdim", "infeatures", "fanin", "din"),
    *("in", "insize", "indim", "features", "nfeatures", "dim", "d", "n", "inchannels", "i", "o"),
    *("inputsizes", "sizein", "numfeatures", "channels", "ndim", "size", "inputshape", "shape"),
}


CHANNELS = {
    "cin",
    "inchannels",
    "channels",
    "nchannels",
    "inputchannels",
    "numchannels",
    "c",
    "inc",
}
"""The inputs of a convolution on (samples, channels, height, width)."""


def _cannot_make(factory: Any, wanted: list[str], raised: str = "") -> SubjectError:
    name = getattr(factory, "__name__", repr(factory))
    return SubjectError(
        f"{name} could not be made{': ' + raised if raised else ''}",
        looked="a class or function that takes nothing, or (inputs, outputs)",
        found=f"{name}({', '.join(wanted)})",
        say=f"an instance, or lambda: {name}(...)",
    )


def made(factory: Callable[..., Any], args: list[Any]) -> Any:
    """What a class or a factory makes, called with the sizes that it requires."""
    wanted = required(factory)
    shape: tuple[int, ...] = np.shape(args[0]) if args else ()
    features = shape[-1] if shape else 1
    sizes: list[Any] = []
    for place, name in enumerate(wanted):
        role = plain(name)
        if "shape" in role:
            sizes.append(shape[1:])
        elif role in CHANNELS and len(shape) == 4:
            sizes.append(shape[1])
        elif (
            role in UNITS or (place == 1 and len(wanted) == 2 and role not in INPUTS) or role == "o"
        ):
            sizes.append(OUTPUTS)
        elif role in INPUTS or place == 0:
            sizes.append(features)
        else:
            raise _cannot_make(factory, wanted)
    if len(wanted) > 2:
        raise _cannot_make(factory, wanted)
    try:
        return factory(*sizes)
    except Exception as error:
        raise _cannot_make(factory, wanted, f"{type(error).__name__}: {error}") from error


def _pair(pair: Any, args: list[Any], options: Options) -> list[Style]:
    if len(pair) != 2 or not all(map(callable, pair)):
        raise SubjectError(
            f"a {type(pair).__name__} of {len(pair)}",
            looked="a pair of functions, (forward, backward)",
            found=", ".join(type(one).__name__ for one in pair),
            say="check((forward, backward), x)",
        )
    forward, backward = pair
    name = getattr(forward, "__name__", type(forward).__name__)
    style = Style(name, forward, backward, options)
    if len(required(backward)) == 1 and not _is_loss(style, args):
        return _slopes(style, plain(required(backward)[0]), options)
    if not required(backward) and not names.parameters(backward):
        return [_slope(style, options.fed)]
    return [style]


def _is_loss(style: Style, args: list[Any]) -> bool:
    """Whether one of two arguments is called as targets are."""
    return (
        len(args) > 1
        and not style.options.activation
        and any(plain(name) in names.TARGETS for name in style.arguments[:2])
    )


def _slope(style: Style, fed: str) -> Style:
    style.slope = fed
    return style


def _slopes(style: Style, argument: str, options: Options) -> list[Style]:
    """A second function of one argument is f' of the input, f' of the output, or (dY) -> dX."""

    def again(fed: str) -> Style:
        other = Style(style.name, style.forward, style.backward, options, style.owner)
        return _slope(other, fed)

    plainly = style if argument.startswith(("d", "grad", "delta", "up", "err", "acc")) else None
    if options.fed == "output" or argument in names.AS_OUTPUT - {"x"}:
        slopes = [again("output"), again("input")] if options.fed != "output" else [again("output")]
    else:
        slopes = [again("input")]
    return [plainly, *slopes] if plainly else [*slopes, style]


def _function(f: Callable[..., Any], args: list[Any], options: Options) -> list[Style]:
    """f -> (y, pullback), f -> (loss, gradients), or a graph of numbers with gradients."""
    name = getattr(f, "__name__", "function")
    if options.wrap is not None:
        return [GraphStyle(name, f, options, None, options.wrap)]
    flag = next((p.name for p in names.parameters(f) if _is_derivative_flag(p)), None)
    if flag is not None:
        slope = functools.partial(f, **{flag: True})
        argument = plain(required(f)[0]) if required(f) else "x"
        return _slopes(
            Style(name, functools.partial(f, **{flag: False}), slope, options), argument, options
        )
    by_place, by_name = options.extra_arguments()
    try:
        returned = f(
            *[np.array(a) if isinstance(a, np.ndarray) else a for a in args], *by_place, **by_name
        )
    except Exception as error:
        raise SubjectError(
            f"{name} raised {type(error).__name__}: {error}",
            looked=f"a forward pass on {', '.join(str(np.shape(a)) for a in args)}",
            found=f"{name}({', '.join(p.name for p in names.parameters(f))})",
            say="x= of another shape, extra=, targets=, or (forward, backward)",
        ) from error
    if isinstance(returned, tuple) and callable(returned[-1]):
        return [ClosureStyle(name, f, f, options)]
    if isinstance(returned, tuple) and np.ndim(returned[0]) == 0 and len(returned) > 1:
        return [TogetherStyle(name, f, None, options)]
    if hasattr(returned, "backward"):
        return [GraphStyle(name, f, options, None, type(returned))]
    raise SubjectError(
        f"{name}: there is no backward",
        looked="(y, pullback), (loss, gradients), or an object with backward()",
        found=f"{type(returned).__name__} from {name}",
        say=f"check(({name}, its_backward), x)",
    )


def _is_derivative_flag(parameter: inspect.Parameter) -> bool:
    """f(x, derivative=False)"""
    return parameter.default is False and plain(parameter.name) in names.DERIVATIVE_FLAGS


def _object(subject: Any, args: list[Any], options: Options) -> list[Style]:
    name = type(subject).__name__ if not isinstance(subject, type) else subject.__name__
    builds = hasattr(subject, "build") and hasattr(type(subject), "__call__")  # noqa: B004
    known = ("__call__",) if builds else names.FORWARD  # it makes its weights at the first call
    forward = _method(subject, options.forward, known)
    if forward is None:
        raise SubjectError(
            f"{name}: there is no forward",
            looked=", ".join(names.FORWARD[:8]) + ", ...",
            found=_methods(subject),
            say='forward="method" and backward="method", or a pair (forward, backward)',
        )
    backward = _method(subject, options.backward, names.BACKWARD)
    if options.wrap is not None or (backward is None and _learns_by_graph(forward, args)):
        wrap = options.wrap or type(_first(forward(*args)))
        return [GraphStyle(name, forward, options, subject, wrap)]
    if backward is None:
        if isinstance(_probe(forward, args), tuple):
            return [TogetherStyle(name, forward, None, replace(options), subject)]
        raise SubjectError(
            f"{name}: there is no backward",
            looked=", ".join(names.BACKWARD[:8]) + ", ...",
            found=_methods(subject),
            say='backward="method" or a function',
        )
    style = Style(name, forward, backward, options, subject)
    called = plain(getattr(backward, "__name__", ""))
    if len(required(backward)) == 1 and called in names.SLOPES and not _is_loss(style, args):
        other = Style(name, forward, backward, options, subject)
        slopes = [_slope(other, options.fed)]
        return [*slopes, style]
    if _is_loss(style, args) and len(required(backward)) > 1:
        other = Style(name, forward, backward, options, subject)
        other.feeds_output = True
        return [style, other]
    return [style]


def _method(subject: Any, said: Any, known: tuple[str, ...]) -> Callable[..., Any] | None:
    if callable(said):
        return said
    if said is not None:
        found = getattr(subject, said, None)
        if not callable(found):
            raise SubjectError(
                f"{type(subject).__name__}: there is no method {said!r}", found=_methods(subject)
            )
        return found
    return names.method(subject, known)


def _methods(subject: Any) -> str:
    own = [
        n for n in dir(subject) if not n.startswith("__") and callable(getattr(subject, n, None))
    ]
    return ", ".join(own[:12]) or "no methods"


def _first(returned: Any) -> Any:
    return returned[0] if isinstance(returned, list | tuple) else returned


def _probe(forward: Callable[..., Any], args: list[Any]) -> Any:
    try:
        return forward(*args)
    except Exception:
        return None


def _learns_by_graph(forward: Callable[..., Any], args: list[Any]) -> bool:
    return callable(getattr(_first(_probe(forward, args)), "backward", None))

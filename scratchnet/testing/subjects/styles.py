"""How somebody's forward and backward are called: methods, functions, closures, graphs.

A style takes the arguments of a forward pass and gives its outputs; takes the gradients of those
outputs and gives whatever backward returned. What belongs to whom is `parameters.py`'s business.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.subjects import names
from scratchnet.testing.subjects.names import plain, required
from scratchnet.testing.subjects.options import Options, SubjectError


class Pass(NamedTuple):
    """One forward pass: the arguments, what was returned, and the outputs among that."""

    args: list[Any]
    raw: Any
    outputs: list[Array]


class Style:
    """Methods of an object, or a pair of functions, with or without a cache between them."""

    closure = False
    accumulates = False
    """Whether gradients add up from pass to pass by contract."""

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        backward: Callable[..., Any] | None,
        options: Options,
        owner: Any = None,
    ) -> None:
        self.name, self.options, self.owner = name, options, owner
        self.forward, self.backward = forward, backward
        self.roots: tuple[Any, ...] = (owner,) if owner is not None else (forward, backward)
        self.accepted = names.parameters(forward)
        self.arguments = [p.name for p in self.accepted]
        self.wanted = required(backward) if backward else []
        self.targets: tuple[int, ...] = ()
        """Which arguments of forward are targets."""
        self.takes_dy = True
        """Whether backward was handed the gradient of the output; set by each pull."""
        self.feeds_output = False
        """Whether a loss's backward is handed its own output, a softmax's, and not its input."""
        self.slope = ""
        """`input` or `output` where backward gives f' of it instead of dX."""

    # --- forward

    def call(self, args: list[Any]) -> Pass:
        by_place, by_name = self.options.extra_arguments()
        given = [*args, *copy.deepcopy(by_place)]
        keywords = copy.deepcopy(by_name)
        for parameter in self.accepted[len(given) :]:
            wanted = self.options.train is not None or parameter.default is parameter.empty
            if (
                plain(parameter.name) in names.TRAINING
                and parameter.name not in keywords
                and wanted
            ):
                keywords[parameter.name] = self.options.train is not False
        raw = self.forward(*given, **keywords)
        return Pass(given, raw, self.outputs(raw))

    def outputs(self, raw: Any) -> list[Array]:
        chosen = self.options.output
        if callable(chosen):
            raw = chosen(raw)
        elif isinstance(chosen, int):
            raw = raw[chosen]
        elif isinstance(chosen, str):
            raw = getattr(self.owner, chosen)
        elif raw is None:
            raw = self._kept()
        elif isinstance(raw, tuple) and self.cached(raw):
            raw = raw[:-1]
        found = [np.asarray(one) for one in (raw if isinstance(raw, tuple) else (raw,))]
        if any(one.dtype.kind not in "fciub" for one in found):
            kinds = ", ".join(type(one).__name__ for one in np.atleast_1d(raw))
            raise SubjectError(
                f"{self.name}: forward gives no array",
                looked="an array, (output, cache), or None and an attribute output",
                found=f"{type(raw).__name__} of {kinds}"[:200],
                say='output="attribute", output=0 (an index), or a function of what is returned',
            )
        return found

    def _kept(self) -> Any:
        for name in names.OUTPUT:
            value = getattr(self.owner, name, None)
            if isinstance(value, np.ndarray | float):
                return value
        raise SubjectError(
            f"{self.name}: forward returns None",
            looked=f"the output in an attribute: {', '.join(names.OUTPUT)}",
            found=", ".join(vars(self.owner))
            if hasattr(self.owner, "__dict__")
            else "no attributes",
            say='output="attribute"',
        )

    def cached(self, raw: tuple[Any, ...]) -> bool:
        """Whether the last thing returned is a cache and no output."""
        if self.closure:
            return True
        wanted = self.wanted
        if any(plain(name) in names.CACHE for name in wanted):
            return True
        arrays = all(isinstance(one, np.ndarray | np.generic | float) for one in raw)
        return not arrays or (self.owner is None and len(wanted) == len(raw))

    # --- backward

    def pull(self, done: Pass, dys: list[Any]) -> Any:
        """What backward returns for these gradients of the outputs."""
        backward = done.raw[-1] if self.closure else self.backward
        assert backward is not None
        if self.slope:
            fed = done.args[0] if self.slope == "input" else done.outputs[0]
            return dys[0] * np.asarray(backward(fed))
        arguments = self._arguments(backward, done, left := list(dys))
        self.takes_dy = len(left) < len(dys)
        return backward(*arguments)

    def _arguments(self, backward: Callable[..., Any], done: Pass, dys: list[Any]) -> list[Any]:
        wanted = required(backward) if self.closure else self.wanted
        has_cache = isinstance(done.raw, tuple) and len(done.raw) > len(done.outputs)
        if not wanted:
            scalar = all(y.ndim == 0 for y in done.outputs)
            accepted = [plain(p.name) for p in names.parameters(backward)]
            optional_dy = bool(accepted) and not scalar and accepted[0] not in names.TRAINING
            return [dys.pop(0)] if optional_dy else []
        found: list[Any] = []
        for place, name in enumerate(wanted):
            role = plain(name)
            if role in names.LEARNING_RATE:
                found.append(1.0 if self.options.lr is None else self.options.lr)
            elif role in names.TRAINING:
                found.append(self.options.train is not False)
            elif role in names.CACHE and has_cache:
                found.append(done.raw[-1])
            elif name in self.arguments[: len(done.args)] and (
                len(wanted) > 1 or self.scalar(done)
            ):
                found.append(done.args[self.arguments.index(name)])
            elif self.targets and len(wanted) > 1:
                predictions = done.args[0 if self.targets[0] else 1]  # dvalues, as nnfs calls them
                found.append(self.owner.output if self.feeds_output else predictions)
            elif dys and not (place and role in names.AS_INPUT | names.AS_OUTPUT):
                several = len(wanted) == 1 and len(dys) > 1
                found.append([dys.pop(0) for _ in range(len(dys))] if several else dys.pop(0))
            elif has_cache:
                found.append(done.raw[-1])
            elif role in names.AS_OUTPUT:
                found.append(done.outputs[0])
            elif role in names.AS_INPUT or place < len(wanted):
                found.append(done.args[0])
        return found

    def scalar(self, done: Pass) -> bool:
        return all(y.ndim == 0 for y in done.outputs)


class ClosureStyle(Style):
    """`y, pullback = f(x)`, and pullback(dy) gives the gradients."""

    closure = True


class TogetherStyle(Style):
    """`loss, gradients = f(x, ...)`: both come at once."""

    def outputs(self, raw: Any) -> list[Array]:
        return [np.asarray(raw[0])]

    def pull(self, done: Pass, dys: list[Any]) -> Any:
        self.takes_dy = False
        return done.raw[1] if len(done.raw) == 2 else done.raw[1:]


class ContextStyle(Style):
    """`forward(ctx, x, ...)` and `backward(ctx, dy)`, as torch.autograd.Function has them."""

    def __init__(self, name: str, function: type, options: Options) -> None:
        super().__init__(name, function.forward, function.backward, options)  # type: ignore[attr-defined]
        self.arguments = self.arguments[1:]
        self.roots = (function,)

    def call(self, args: list[Any]) -> Pass:
        context = Context()
        by_place, by_name = self.options.extra_arguments()
        given = [*args, *copy.deepcopy(by_place)]
        context.needs_input_grad = tuple(_differentiable(arg) for arg in given)
        raw = self.forward(context, *given, **by_name)
        outputs = self.outputs(raw)
        return Pass(given, (context, raw), outputs)

    def cached(self, raw: tuple[Any, ...]) -> bool:
        return False

    def pull(self, done: Pass, dys: list[Any]) -> Any:
        assert self.backward is not None
        return self.backward(done.raw[0], *dys)


class Context(SimpleNamespace):
    """What torch hands to a Function: a place to put things."""

    saved_tensors: tuple[Any, ...] = ()
    needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *arrays: Any) -> None:
        self.saved_tensors = arrays

    def mark_non_differentiable(self, *arrays: Any) -> None:
        """Nothing to remember."""

    def set_materialize_grads(self, value: bool) -> None:
        """Nothing to remember."""


def _differentiable(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


class GraphStyle(Style):
    """Numbers or arrays that remember how they were made, with `data`, `grad` and `backward()`."""

    accumulates = True

    def __init__(
        self, name: str, function: Callable[..., Any], options: Options, owner: Any, wrap: Any
    ) -> None:
        super().__init__(name, function, None, options, owner)
        self.wrap = wrap

    def call(self, args: list[Any]) -> Pass:
        wrapped = [self._wrapped(arg) for arg in args]
        raw = self.forward(*wrapped)
        nodes = list(raw) if isinstance(raw, list | tuple) else [raw]
        outputs = [np.asarray(_data(node)) for node in nodes]
        if len(outputs) > 1:
            outputs = [np.stack(outputs)]
        return Pass(wrapped, nodes, outputs)

    def _wrapped(self, arg: Any) -> Any:
        if not isinstance(arg, np.ndarray) or arg.dtype.kind not in "fc":
            return arg
        node = None if arg.ndim else self.wrap(arg[()])
        if arg.ndim and any(hasattr(self.wrap, name) for name in ("shape", "sum", "mean")):
            node = self.wrap(arg)  # it is made for whole arrays
        return _each(self.wrap, arg) if node is None else node

    def pull(self, done: Pass, dys: list[Any]) -> Any:
        nodes, dy = done.raw, dys[0]
        if len(nodes) == 1 and required(nodes[0].backward):
            nodes[0].backward(dy)
        else:
            weights = [dy] if len(nodes) == 1 else list(dy)
            terms = [
                n * (float(w) if np.ndim(w) == 0 else w)
                for n, w in zip(nodes, weights, strict=True)
            ]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            (total.sum() if np.ndim(_data(total)) else total).backward()
        return [_gradient(arg) for arg in done.args]


def _each(wrap: Any, arg: Array) -> Any:
    return [_each(wrap, row) for row in arg] if arg.ndim else wrap(arg[()])


def _data(node: Any) -> Any:
    for name in names.BOXES:
        if hasattr(node, name):
            return getattr(node, name)
    return node


def _gradient(node: Any) -> Any:
    if isinstance(node, list):
        return np.array([_gradient(one) for one in node])
    return next((getattr(node, n) for n in names.BOXES.values() if hasattr(node, n)), None)

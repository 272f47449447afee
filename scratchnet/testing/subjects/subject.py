"""Somebody's layer, activation or loss as two functions of named arrays: outputs and gradients.

Each pass of a `Subject` begins from the same state, random numbers included, so that forward is a
function: what a gradient check needs. Read `binding.py` for how one is made.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.subjects.parameters import Gradient, Parameter, is_float
from scratchnet.testing.subjects.state import Snapshot, walk
from scratchnet.testing.subjects.styles import Pass, Style

Point = dict[str, Array]
"""Every array that has a gradient, by name."""


@contextmanager
def quiet() -> Iterator[None]:
    """Somebody's prints and warnings are not ours to show."""
    with redirect_stdout(StringIO()), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Subject:
    """Outputs and gradients as functions of a point, for code in any style.

    Attributes:
        name: for messages.
        inputs: name -> its place among the arguments, of the inputs that have gradients.
        parameters: by name.
        given: the arguments of the forward pass as they were handed over.
        notes: what was found out on the way, for the report.
    """

    def __init__(self, style: Style, given: list[Any]) -> None:
        self.style, self.given, self.name = style, given, style.name
        self.inputs: dict[str, int] = {}
        self.parameters: dict[str, Parameter] = {}
        self.input_gradients: dict[str, Gradient] = {}
        self.original = self.state = Snapshot(*style.roots)
        self.returned_inputs = 0
        """How many of them backward returns, before it returns anything else."""
        self.notes: list[str] = []
        self.random = False
        """Whether the same input gave two outputs, whatever was put back."""
        self.columns = False
        """Whether samples stand in columns."""
        self.raw = True
        """Whether its passes can be looked at without the copies that are made for the check."""
        self.updates = False
        """Whether backward updates the parameters itself."""
        self.share = 1.0
        """What the sum of several losses is divided by, 1 for a layer."""
        self.whole: Subject | None = None
        """The subject that this one was cut out of, with all its samples."""
        self.last_point: Point | None = None
        """Where it was asked last on all samples."""
        self.mean_gradients = False
        """Whether all gradients but that of the first input are means over the batch."""

        self.reset: Callable[[], Any] | None = None
        """What clears gradients that add up on purpose."""

    @property
    def takes_dy(self) -> bool:
        """Whether backward is handed the gradient of the output; a loss's is not."""
        return self.style.takes_dy

    def copy(self) -> Subject:
        """Another reading of the same code."""
        return copy.copy(self)

    def leave(self) -> None:
        """Put the code back as it was handed over."""
        self.original.restore()

    def start(self) -> Point:
        """The point that was handed over: inputs and parameters as they are."""
        self.state.restore()
        point = {name: np.array(self.given[at], np.float64) for name, at in self.inputs.items()}
        kept = {name: np.array(p.value, np.float64) for name, p in self.parameters.items()}
        return point | kept

    def prepared(self, point: Point) -> list[Any]:
        """Everything as it was and the parameters in place; the arguments of forward."""
        self.state.restore()
        for name, parameter in self.parameters.items():
            parameter.put(point[name])
        if self.reset is not None:
            self.reset()
        args = copies(self.given)
        for name, at in self.inputs.items():
            args[at] = np.array(point[name])
        return args

    def _pass(self, point: Point) -> Pass:
        return self.style.call(self.prepared(point))

    def output(self, point: Point) -> Array:
        """What forward gives; several outputs one after the other in one vector."""
        with quiet():
            outputs = self._pass(point).outputs
        if len(outputs) == 1:
            return np.array(outputs[0])
        return np.concatenate([np.ravel(y) for y in outputs])

    def gradients(self, point: Point, dy: Array) -> Point:
        """What backward gives for the gradient dy of `output`, by name, as it is."""
        with quiet():
            done = self._pass(point)
            returned = self.style.pull(done, split(dy, done.outputs))
            return self.collect(returned)

    def repeated(self, point: Point, dy: Array, times: int) -> list[tuple[Array, Point]]:
        """Outputs and gradients of passes in a row, with nothing put back but random numbers."""
        passes = []
        with quiet():
            self.state.restore()
            for _ in range(times):
                self.state.reseed()
                if self.reset is not None:
                    self.reset()
                for name, parameter in self.parameters.items():
                    parameter.put(point[name])
                args = copies(self.given)
                for name, at in self.inputs.items():
                    args[at] = np.array(point[name])
                done = self.style.call(args)
                outputs = np.concatenate([np.ravel(y) for y in done.outputs])
                returned = self.style.pull(done, split(dy, done.outputs))
                passes.append((outputs, self.collect(returned)))
            self.state.restore()
        return passes

    def samples(self) -> int:
        """How many samples the first input holds."""
        arrays = [at for at, arg in enumerate(self.given) if isinstance(arg, np.ndarray)]
        at = next(iter(self.inputs.values()), arrays[0] if arrays else None)
        shape = () if at is None else np.shape(self.given[at])
        return int(shape[-1 if self.columns else 0]) if len(shape) > 1 else 1

    def constants(self) -> list[Array]:
        """The arrays of numbers that it holds or was handed beside inputs and parameters."""
        held = [
            h.value for h in walk(*self.style.roots, self.style.options.extra) if is_float(h.value)
        ]
        return held + [a for a in self.given if is_float(a)]

    def collect(self, returned: Any) -> Point:
        looked = dict(self.input_gradients)
        looked |= {n: p.gradient for n, p in self.parameters.items() if p.gradient is not None}
        found = {}
        for name, look in looked.items():
            try:
                gradient = look(returned)
            except (KeyError, IndexError, AttributeError):
                gradient = None
            found[name] = np.array(np.nan if gradient is None else gradient)
            if self.mean_gradients and name != next(iter(self.inputs), None):
                found[name] = found[name] * self.samples()
        return found


def copies(args: list[Any]) -> list[Any]:
    """Arguments that may be written to."""
    return [np.array(arg) if isinstance(arg, np.ndarray) else arg for arg in args]


def split(dy: Array, outputs: list[Array]) -> list[Any]:
    """The gradient of `output`, as one array for each output, in its dtype."""
    if len(outputs) == 1:
        return [np.array(dy, outputs[0].dtype if outputs[0].dtype.kind == "f" else None)]
    ends = np.cumsum([y.size for y in outputs])[:-1]
    return [part.reshape(y.shape) for part, y in zip(np.split(dy, ends), outputs, strict=True)]

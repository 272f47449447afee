"""What can be said to `check` about somebody's code, and the error where it has to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Name = str | Callable[..., Any]


class SubjectError(TypeError):
    """The code could not be called: what was looked for, what was found, and what would tell it.

    >>> raise SubjectError("Mine: no backward", looked="backward, grad", found="f", say="backward=")
    Traceback (most recent call last):
    scratchnet.testing.subjects.options.SubjectError: Mine: no backward
      looked for: backward, grad
      found:      f
      say:        backward=
    """

    def __init__(self, what: str, *, looked: str = "", found: str = "", say: str = "") -> None:
        lines = [("looked for", looked), ("found", found), ("say", say)]
        told = [f"  {label + ':':<11} {text}" for label, text in lines if text]
        super().__init__("\n".join([what, *told]))


@dataclass(frozen=True, kw_only=True)
class Options:
    """The arguments of `check` that are about the subject, each needed only where it isn't found.

    Attributes:
        params: where the parameters are: names ("W b"), a dict or list attribute, or () for none.
        grads: where their gradients are: a pattern ("d{}"), an attribute, "returned" by backward,
            or "updated": read from the step that backward takes, of learning rate `lr`.
        forward, backward: the names of the methods, or functions.
        output: the attribute, index or function that gives the output, where forward doesn't.
        input_gradient: the attribute or index of dX, where backward doesn't return it first.
        extra: further arguments of forward, by position or by name.
        reset: the method that clears gradients which add up on purpose.
        train: what a training flag is set to; by default its own default, or True.
        wrap: what turns numbers into nodes of a graph, such as micrograd's Value.
        targets: for a loss: "onehot", "labels", "column", "binary", "signs", "numbers", "columns",
            an array, or a shape.
        fed: `"output"` for a derivative that is fed f(x).
        mean_gradients: the parameters' gradients are means over the batch, as in Coursera's course.
        columns: samples stand in columns, (features, batch).

    >>> Options(params="W, b").names()
    ['W', 'b']
    """

    params: Any = None
    grads: Any = None
    lr: float | None = None
    forward: Name | None = None
    backward: Name | None = None
    output: Any = None
    input_gradient: Any = None
    extra: Mapping[str, Any] | Sequence[Any] = field(default_factory=tuple)
    reset: Name | None = None
    train: bool | None = None
    wrap: Callable[[Any], Any] | None = None
    targets: Any = None
    fed: str = "input"
    mean_gradients: bool = False
    columns: bool = False
    targets_first: bool | None = None
    input_name: str | None = None
    """What the first input is called in messages, where its own name says nothing."""
    activation: bool = False
    """Whether a pair is an activation and its derivative, whatever its arguments are called."""

    def __post_init__(self) -> None:
        if self.fed not in ("input", "output"):
            raise ValueError(f"fed={self.fed!r}: expected 'input' or 'output'.")

    def extra_arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """By position and by name."""
        if isinstance(self.extra, Mapping):
            return [], dict(self.extra)
        return list(self.extra), {}

    def names(self) -> list[str] | None:
        """`params` as names, where it is names: "W b", or a list of them."""
        if isinstance(self.params, str):
            return self.params.replace(",", " ").split()
        if isinstance(self.params, list | tuple) and all(isinstance(p, str) for p in self.params):
            return list(self.params)
        return None

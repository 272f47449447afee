"""What people call things: methods, arguments, gradients. One table for each, nothing else.

Names are compared without case and underscores. What is not in the tables can be said to `check`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

FORWARD = (
    *("forward", "forward_pass", "forward_propagation", "forward_prop", "forward_propagate"),
    *("fprop", "feedforward", "feed_forward", "call", "loss", "cost", "value", "fn", "f"),
    *("activate", "activation", "compute", "__call__"),
)
BACKWARD = (
    *("backward", "backward_pass", "back_propagation", "backward_propagation", "backward_prop"),
    *("backpropagation", "backpropagate", "backprop", "bprop", "vjp", "gradient", "gradients"),
    *("grad", "derivative", "deriv", "prime", "f_prime", "df", "delta"),
)
SLOPES = {"gradient", "grad", "derivative", "deriv", "prime", "fprime", "df", "delta", "slope"}
"""Backward methods by these names may give f'(x), to be multiplied with dY by the caller."""

DERIVATIVE_FLAGS = {
    *("derivative", "deriv", "prime", "grad", "gradient", "derive", "diff", "isderivative", "der"),
    *("backward", "back", "derivate", "differentiate"),
}
STEP = (
    *("update", "step", "apply_gradients", "update_params", "apply", "optimize", "optimise"),
    *("update_parameters", "update_weights", "apply_gradient", "take_step", "__call__"),
)
TARGETS = {
    *("ytrue", "target", "targets", "actual", "label", "labels", "true", "t", "y", "truth"),
    *("groundtruth", "expected", "answer", "ys", "onehot", "desired", "yhot"),
}
PREDICTIONS = {
    *("ypred", "pred", "preds", "predicted", "prediction", "predictions", "yhat", "ypredicted"),
    *("logits", "scores", "probs", "probabilities", "estimate", "output", "outputs"),
}
OUTPUT = ("output", "outputs", "out", "y", "A", "a", "Z", "z", "activation", "result", "pred")
INPUT_GRADIENT = (
    *("dinputs", "dinput", "dX", "dx", "grad_input", "grad_inputs", "input_grad", "gradInput"),
    *("input_gradient", "input_gradients", "d_input", "d_inputs", "din", "dA_prev", "dx_"),
)
LEARNING_RATE = {"lr", "learningrate", "eta", "alpha", "stepsize", "rate"}
TRAINING = {"training", "train", "istraining", "trainflg", "trainflag", "istrain", "trainmode"}
CACHE = {"cache", "ctx", "context", "saved", "tape", "memory", "caches", "state"}
AS_INPUT = {"x", "input", "inputs", "z", "aprev", "in", "inp"}
AS_OUTPUT = {"y", "out", "output", "outputs", "a", "activated", "s", "fz", "fx"}
RESET = (
    *("zero_grad", "zero_grads", "zerograd", "zerograds", "cleargrads", "clear_grads"),
    *("flush_gradients", "clear_gradients", "zero_gradients", "reset_gradients", "reset_grads"),
)
BUFFERS = ("running", "moving", "buffer", "mask", "mean", "var", "std", "position", "pe", "scale")
"""Arrays by such names may influence the output without being learned."""

PATTERNS = (
    *("d{}", "grad{}", "{}grad", "dl{}", "dldq{}", "{}gradient", "{}gradients", "gradient{}"),
    *("g{}", "delta{}", "nabla{}", "del{}", "dloss{}", "dj{}", "de{}", "dc{}", "{}grads"),
    *("gradients{}", "grads{}", "{}g", "{}diff", "accum{}"),
)
"""Where the gradient of the array called {} stands."""

SHORT = {"weights": "w", "weight": "w", "kernel": "w", "bias": "b", "biases": "b"}
STORES = (
    "grads",
    "gradients",
    "grad",
    "dparams",
    "gradient",
    "gradparams",
    "paramsgrad",
    "dweights",
)
BOXES = {"data": "grad", "value": "grad", "val": "grad", "array": "grad", "tensor": "grad"}
"""An object with the first and the second attribute is a parameter with its gradient."""


def plain(name: str) -> str:
    """Lower case, without underscores and brackets.

    >>> plain("dL_dW"), plain("params['W1']")
    ('dldw', 'paramsw1')
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def spellings(name: str) -> list[str]:
    """A name, its singular, and its abbreviation.

    >>> spellings("weights")
    ['weights', 'weight', 'w', 'ws']
    """
    own = plain(name)
    short = SHORT.get(own, own)
    found = [own, own.removesuffix("s"), own.removesuffix("es"), short]
    found += [f"{short}s"] if short != own and own.endswith("s") else []
    return list(dict.fromkeys(found))


def partner(name: str, others: Iterable[Any], pattern: str | None = None) -> Any:
    """Which of the others is called as the gradient of `name` is, or None.

    >>> partner("W", ["b", "dW", "db"]), partner("gamma", ["beta_grad", "gamma_grad"])
    ('dW', 'gamma_grad')
    >>> partner("W", ["slope_W"], "slope_{}")
    'slope_W'
    """
    known = {plain(str(other)): other for other in others}
    for form in PATTERNS if pattern is None else (pattern,):
        for own in spellings(name):
            if (found := plain(form.format(own))) in known and known[found] != name:
                return known[found]
    return None


def method(subject: Any, names: Iterable[str]) -> Callable[..., Any] | None:
    """The first of these methods that a subject has; `__call__` only where its class defines it."""
    for name in names:
        found = getattr(subject, name, None)
        if callable(found) and not (isinstance(subject, type) and name == "__call__"):
            return found
    return None


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The arguments of a function by position, those with defaults too; [] where nothing says."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter for parameter in given if parameter.kind in kinds]


def required(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments that have to be given."""
    return [p.name for p in parameters(function) if p.default is p.empty]

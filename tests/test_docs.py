"""Every name that is offered to users is documented, with an example that runs as a doctest.

The examples themselves run with the rest of the tests (`--doctest-modules`); here is only asked
whether they are there. `OFFERED` is the list of rooms that users import from; names in `INTERNAL`
serve other rooms of the package and are promised to nobody.
"""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

OFFERED = (
    "scratchnet",
    "scratchnet.activations",
    "scratchnet.backend",
    "scratchnet.callbacks",
    "scratchnet.config",
    "scratchnet.datasets",
    "scratchnet.datasets.digits",
    "scratchnet.datasets.mnist",
    "scratchnet.datasets.synthetic",
    "scratchnet.engines.choice",
    "scratchnet.engines.contract",
    "scratchnet.engines.reference",
    "scratchnet.gradcheck",
    "scratchnet.initializers",
    "scratchnet.layers",
    "scratchnet.losses",
    "scratchnet.metrics",
    "scratchnet.model",
    "scratchnet.models",
    "scratchnet.objective",
    "scratchnet.optimizers",
    "scratchnet.optimizers.schedules",
    "scratchnet.regularizers",
    "scratchnet.training",
    "scratchnet.plots",
    "scratchnet.saving",
    "scratchnet.testing",
    "scratchnet.testing.batteries",
    "scratchnet.testing.exact",
    "scratchnet.testing.kill_matrix",
    "scratchnet.testing.magnitude",
    "scratchnet.testing.museum",
    "scratchnet.testing.strategies",
    "scratchnet.utils",
)
INTERNAL = {
    "scratchnet.callbacks": {"CallbackList", "Progress"},
    "scratchnet.engines.contract": {"DenseSpec", "Plan"},
    "scratchnet.metrics": {
        "choose",
        "directions",
        "is_accuracy",
        "name_of",
        "Meters",
        "made",
        "check",
    },
    "scratchnet.models": {"model_of"},
    "scratchnet.objective": {"LossDescription", "Row"},
    "scratchnet.testing.exact": {
        # what the oracle is made of
        *("dual", "total", "short", "exp", "log", "softmax", "tanh", "clip"),
        *("softmax_cross_entropy", "normalized_cross_entropy", "clipped_cross_entropy"),
        "mean_squared_error",
    },
    "scratchnet.testing.kill_matrix": {
        # the checks and trainings behind the one function that is called from outside
        *("build", "targets", "complex_step", "loss_value", "second_call", "sum_of_parts"),
        *("optimizer_steps", "batches", "Planted", "looks_like", "load", "accuracy"),
        *("Accuracies", "print_matrix", "caption", "rule_of"),
    },
    "scratchnet.testing.magnitude": {"backward_scale"},
    "scratchnet.testing.museum": {
        # how a bug is written down
        *("keep", "sizes", "swap", "activation", "dense", "loss", "optimizer", "adam", "sgd"),
        *("SpoiledOrder", "starts_only", "swapped_rows", "order"),
    },
    "scratchnet.testing.strategies": {"loss_for"},
}


def offered(room: str) -> dict[str, object]:
    """The functions and classes that a room offers: its `__all__`, else what it defines."""
    module = importlib.import_module(room)
    made_here = [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == room
    ]
    names = set(getattr(module, "__all__", made_here)) - INTERNAL.get(room, set())
    things = {name: getattr(module, name) for name in names}
    return {k: v for k, v in things.items() if inspect.isclass(v) or inspect.isroutine(v)}


def documented(thing: object) -> bool:
    """Whether its own docstring, not one that it inherits, holds an example."""
    return bool(doctest.DocTestParser().get_examples(thing.__doc__ or ""))


@pytest.mark.parametrize("room", OFFERED)
def test_every_name_on_offer_has_a_docstring_with_an_example(room):
    things = offered(room)
    assert things
    assert [name for name, thing in sorted(things.items()) if not documented(thing)] == []


@pytest.mark.parametrize("room", INTERNAL)
def test_what_is_internal_exists(room):
    module = importlib.import_module(room)
    assert [name for name in sorted(INTERNAL[room]) if not hasattr(module, name)] == []


def test_a_name_without_an_example_would_be_found():
    def bare():
        """Says something, shows nothing."""

    def silent():
        pass

    def shown():
        """1 and 1.

        >>> 1 + 1
        2
        """

    assert [documented(f) for f in (bare, silent, shown)] == [False, False, True]

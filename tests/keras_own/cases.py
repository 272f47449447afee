"""Keras's `TestCase`, with three of its tools made for what scratchnet is.

Its assertions on values run as Keras wrote them. A layer is tested on arrays, its symbolic and
half-precision parts left out; a round trip through `get_config` needs no file format; and an error
has to be of the class that Keras raises and speak of the same thing, in words of its own.
"""

from __future__ import annotations

import json
import re
from types import ModuleType
from typing import Any

import numpy as np

from . import verdicts
from .ledger import FAILED, LEDGER, OUT, Absence, Verdict
from .standins import standardize_dtype

# fmt: off
IDLE = frozenset((
    "argument", "arguments", "cannot", "does", "expected", "file", "found", "given", "have",
    "instance", "invalid", "layer", "list", "must", "model", "none", "only", "passed", "please",
    "provided", "received", "should", "such", "that", "this", "type", "value", "values", "when",
    "will", "with",
))
# fmt: on
"""Words that any error may hold."""


def adapt(dotted: str, module: ModuleType) -> None:
    """Put our `TestCase` in the place of Keras's, on a machine without other devices."""
    if dotted == "testing.test_case":
        module._tensorflow_uses = lambda device: False
        bases = (Tools, module.TestCase)
        module.TestCase = type("TestCase", bases, {"__module__": module.__name__})


class Raises:
    """`with` this, an exception of a class is expected, and what it says is looked at.

    A refusal, or an error about a name that is not there, proves nothing about the behaviour that
    the test is about, so it is entered into the account, unless it is a refusal that is expected.
    Keras's wording is not copied: an error in other words has to share a word that says something.
    """

    def __init__(self, expected: Any, match: str | None = None):
        self.expected, self.pattern = expected, match

    def handle(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs.pop("msg", None)
        if not args:
            return self
        function, *rest = args
        with self:
            function(*rest, **kwargs)
        return None

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        if kind is None:
            raise AssertionError(f"nothing raised, expected {self.expected} {self.pattern or ''}")
        if isinstance(error, Absence) or not isinstance(error, self.expected):
            return False
        self.exception = error
        verdict = verdicts.of_error(error, traceback)
        if verdict.kind != FAILED and "supported" not in (self.pattern or ""):
            LEDGER.ask(verdict)
        said = str(error)
        if self.pattern is not None and not re.search(self.pattern, said):
            if not same_subject(self.pattern, said):
                raise AssertionError(
                    f"{kind.__name__} about something else: {said!r}, expected {self.pattern!r}"
                )
            LEDGER.notes.append(f"an error in other words: {said}")
        return True


def same_subject(pattern: str, said: str) -> bool:
    """Whether two errors share a word that says something.

    >>> same_subject("positive integer", "Dense: units=0: expected an integer >= 1.")
    True
    >>> same_subject("Invalid value for argument `rate`", "seed=None: expected a value")
    False
    """
    expected, found = (
        {word[:6] for word in re.findall(r"[a-z]{4,}", text.lower().replace("_", " "))}
        - {word[:6] for word in IDLE}
        for text in (pattern, said)
    )
    return not expected or bool(expected & found)


class Tools:
    """What replaces methods of Keras's `TestCase`."""

    def assertRaises(self, expected_exception: Any, *args: Any, **kwargs: Any) -> Any:
        return Raises(expected_exception).handle(args, kwargs)

    def assertRaisesRegex(
        self, expected_exception: Any, expected_regex: Any, *args: Any, **kwargs: Any
    ) -> Any:
        text = getattr(expected_regex, "pattern", expected_regex)
        return Raises(expected_exception, text).handle(args, kwargs)

    def run_class_serialization_test(self, instance: Any, custom_objects: Any = None) -> Any:
        """`from_config(get_config())`, through JSON, gives a like object."""
        config = instance.get_config()
        revived = type(instance).from_config(json.loads(json.dumps(config)))
        again = revived.get_config()
        self.assertEqual(json.dumps(config, sort_keys=True), json.dumps(again, sort_keys=True))
        self.assertEqual(set(dir(instance)), set(dir(revived)))
        return revived

    def run_layer_test(
        self,
        layer_cls: Any,
        init_kwargs: dict[str, Any],
        input_shape: Any = None,
        input_dtype: Any = None,
        input_sparse: bool = False,
        input_ragged: bool = False,
        input_data: Any = None,
        call_kwargs: dict[str, Any] | None = None,
        expected_output_shape: Any = None,
        expected_output_dtype: Any = None,
        expected_output: Any = None,
        run_training_check: bool = True,
        custom_objects: Any = None,
        **expected: Any,
    ) -> None:
        """The parts of Keras's that are about arrays: configuration, call, weights, one step."""
        if input_sparse or input_ragged:
            verdict = Verdict(OUT, "sparse or ragged tensors")
            LEDGER.ask(verdict)
            raise Absence(verdict)
        self.run_class_serialization_test(layer_cls(**init_kwargs))
        if input_data is None and input_shape is not None:
            input_data = arrays(input_shape, input_dtype or "float32")
        if input_data is None:
            return
        layer = layer_cls(**init_kwargs)
        output = layer(input_data, **(call_kwargs or {}))
        for number, get in COUNTED.items():
            if expected.get(number) is not None:
                self.assertLen(getattr(layer, get), expected[number], msg=get)
        if expected_output_shape is not None:
            self.assertEqual(expected_output_shape, output.shape)
        if expected_output_dtype is not None:
            self.assertEqual(expected_output_dtype, standardize_dtype(output.dtype))
        if expected_output is not None:
            self.assertAllClose(output, expected_output)
        if run_training_check:
            train_once(layer_cls(**init_kwargs), input_data, output)


COUNTED = {
    "expected_num_trainable_weights": "trainable_weights",
    "expected_num_non_trainable_weights": "non_trainable_weights",
    "expected_num_losses": "losses",
}
"""What `run_layer_test` counts, and where."""


def arrays(shape: Any, dtype: Any) -> Any:
    """Random inputs like Keras's: uniform on [0, 3)."""
    if isinstance(shape, list) or (shape and isinstance(shape[0], tuple)):
        verdict = Verdict(OUT, "a layer of several inputs")
        LEDGER.ask(verdict)
        raise Absence(verdict)
    return (np.random.default_rng(0).random(shape) * 3).astype(dtype)


def train_once(layer: Any, x: Any, output: Any) -> None:
    """One step towards zeros, for a layer alone in a model."""
    import keras

    model = keras.Sequential([layer])
    model.compile("sgd", "mse")
    model.fit(x, np.zeros(np.shape(output), "float32"), batch_size=len(x), verbose=0)

"""A page on which one draws a digit and watches a run's network answer, and learn from it.

`html` puts a trained model, weights and optimizer, into one self-contained page. The mathematics is
done by `pages/network.js`, a few hundred lines that mirror `engines/reference.py` in float32 for
one image; the tests hold the two against each other in a real browser. It takes what the core is
made of (Flatten, Rescaling, Dense on square images, trained by cross-entropy on one label) and
refuses anything else. Read `pages/network.js` next.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scratchnet.app import pages
from scratchnet.app.pages.highlighting import highlighted
from scratchnet.app.run_folder import SavedRun
from scratchnet.app.run_training import OURS
from scratchnet.app.text import trained
from scratchnet.app.tracing import whole_file
from scratchnet.engines import Array, reference
from scratchnet.layers import Dense, Flatten, Layer, Rescaling
from scratchnet.objective import Objective
from scratchnet.sequential import Sequential

SIDES = range(8, 65)
"""Sides of an image, in pixels, that a drawing can be brought to."""
DIGITS = 10


class DrawError(ValueError):
    """A model that the page can't show: what it has, what was expected.

    >>> print(DrawError("its images are (784,)", "square ones, such as (28, 28)"))
    draw can't show this model: its images are (784,). Expected square ones, such as (28, 28).
    """

    def __init__(self, finding: str, expected: str):
        super().__init__(f"draw can't show this model: {finding}. Expected {expected}.")


def html(run: SavedRun, command: Sequence[str] | None = None, own: str | None = None) -> str:
    """The page of a run, as text; `command` is shown as how it was made.

    `own` is the source of a learner's file that trained the run: it is shown.

    Raises:
        DrawError: where its model is not one that the page can show.
        SavedStateError: where its model's file is damaged.
    """
    model = run.model()
    network = network_as_data(model)
    return pages.render(
        "draw.html",
        title="Draw a digit",
        network=network,
        box=round(network["side"] * 20 / 28),
        parameters=model.count_params(),
        command=command,
        own=None if own is None else highlighted(whole_file("network.py", own)),
        **texts(model, {**run.about, "epochs": run.epochs}),
    )


def texts(model: Sequential, result: Mapping[str, Any]) -> dict[str, str]:
    """What the page says about this model beyond its numbers."""
    stack = ", ".join(_layer_text(layer) for layer in model.layers)
    about = f"The network is {stack}: {model.count_params():,} parameters"
    if told := trained(result, result.get("epochs")):
        about += f", {told}"
    if "test_accuracy" in result.get(OURS, {}):
        about += f", {result[OURS]['test_accuracy']:.2%} right on its test images"
    objective = Objective(model.loss, model.layers[-1].activation)
    head = model.layers[-1].activation
    read = "logits z" if objective.reads == "Z" else f"outputs {head}(z)"
    return {
        "about": f"{about}.",
        "probabilities": (
            f"The softmax of the {read}, which is what the loss of this run is the cross-entropy "
            f"of. Beside them stand the logits and what predict returns, {head}(z): the answer is "
            "the largest of those, and the lowest digit where several are equal."
        ),
    }


def _layer_text(layer: Layer) -> str:
    if isinstance(layer, Dense):
        return f"Dense {layer.units} {layer.activation}"
    return type(layer).__name__


def network_as_data(model: Sequential) -> dict[str, Any]:
    """A compiled model as JSON takes it, for `new Network` in `pages/network.js`.

    `theta` and each of the optimizer's `slots` are vectors of all P parameters, float32, little
    endian, in base64.
    """
    side = _side(model)
    layers = [_layer_as_data(layer) for layer in model.layers]
    return {
        "side": side,
        "classes": _classes(model),
        "layers": layers,
        "loss": _loss_as_data(model),
        "optimizer": {"kind": type(model.optimizer).__name__} | model.optimizer.get_config(),
        "iterations": model.optimizer.iterations,
        "theta": _base64(model.theta),
        "slots": {
            name: _base64(model.optimizer.slots.get(name, np.zeros_like(model.theta)))
            for name in model.optimizer.slot_names()
        },
    }


def _side(model: Sequential) -> int:
    """The side of the images, in pixels."""
    shape = model.input_shape[1:]
    side = int(shape[0] or 0)
    if side not in SIDES or shape not in ((side, side), (side, side, 1)):
        raise DrawError(f"its samples have shape {shape}", "square images, such as (28, 28)")
    return side


def _classes(model: Sequential) -> int:
    """The number of digits that the head tells apart."""
    head, shape = model.layers[-1], model.output_shape[1:]
    if not isinstance(head, Dense) or shape != (DIGITS,):
        raise DrawError(
            f"its last layer is a {type(head).__name__} of shape {shape}", f"a Dense({DIGITS})"
        )
    return DIGITS


def _layer_as_data(layer: Layer) -> dict[str, Any]:
    """What `Network` needs of a layer; `kernel` and `bias` are numbers of parameters."""
    if type(layer) not in (Dense, Flatten, Rescaling):
        raise DrawError(
            f"layer {layer.name!r} is a {type(layer).__name__}", "Flatten, Rescaling and Dense only"
        )
    if layer.activation not in reference.ENGINE.activations:
        raise DrawError(
            f"layer {layer.name!r} has the activation {layer.activation!r}",
            f"only {', '.join(reference.ENGINE.activations)}",
        )
    sizes = {name: layer.params[name].size if name in layer.params else 0 for name in PARAMETERS}
    settings = {"scale": layer.scale, "offset": layer.offset} if type(layer) is Rescaling else {}
    return {
        "kind": type(layer).__name__,
        "name": layer.name,
        "activation": layer.activation,
        "slopes": _slopes(layer.activation),
        "inputs": math.prod(layer.input_shape or ()),
        "outputs": math.prod(layer.output_shape),
        **sizes,
        **settings,
    }


PARAMETERS = ("kernel", "bias")


def _slopes(activation: str) -> list[float] | None:
    """Below and above 0, where it is a line through 0 on either side of it; None for a curve."""
    z = np.linspace(-20, 20, 81)[:, None]
    a = reference.ENGINE.activations[activation].forward(z)
    below, above = -float(a[z == -1.0][0]), float(a[z == 1.0][0])
    straight = np.allclose(a, z * np.where(z > 0, above, below), rtol=1e-12, atol=0)
    return [below, above] if straight else None


def _loss_as_data(model: Sequential) -> dict[str, Any]:
    """What the loss takes the softmax of: the head's logits Z, or its outputs A."""
    objective = Objective(model.loss, model.layers[-1].activation)
    if objective.function != "softmax_cross_entropy" or not model.loss.sparse:
        raise DrawError(
            f"its loss is {model.loss.name} with a {model.layers[-1].activation} head",
            "sparse_categorical_crossentropy of a softmax",
        )
    return {"reads": objective.reads}


def _base64(vector: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode("ascii")

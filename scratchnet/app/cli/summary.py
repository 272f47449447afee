"""`scratchnet summary`: the layers of a run's model, or of the one that `train` would train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import scratchnet.app.cli.options as options
from scratchnet import Sequential
from scratchnet.app import run_folder, run_training
from scratchnet.app.cli.screen import new_console
from scratchnet.app.text import to_json
from scratchnet.summary import summary_text

EXAMPLES = """**Examples**

- `scratchnet summary`: the network that `train` and `compare` begin with
- `scratchnet summary runs/train`
- `scratchnet summary --json`
"""


def summary(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder. Default: a new network.")
    ] = None,
    unscaled: options.Unscaled = False,
    as_json: options.Json = False,
) -> None:
    """Layers, output shapes and parameters, in Keras's layout."""
    if run is None:
        pixels, labels = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8)
        data = ((pixels, labels), (pixels, labels))
        model = run_training.build_model(
            run_training.RunSettings(scaled=not unscaled, engine="reference"), data
        )
    else:
        model = run_folder.read_run(run).model()
    if as_json:
        typer.echo(to_json(summary_as_data(model)), nl=False)
    else:
        # Plain print: the table's rules are part of the text, and no terminal may break them.
        print(summary_text(model, model.name, min(78, new_console().width)))


def summary_as_data(model: Sequential) -> dict[str, Any]:
    """The summary as plain data."""
    return {
        "name": model.name,
        "dtype": model.theta.dtype.name,
        "parameters": model.count_params(),
        "loss": model.loss.name,
        "optimizer": model.optimizer.name,
        "steps": model.optimizer.iterations,
        "layers": [
            {
                "name": layer.name,
                "type": type(layer).__name__,
                "output_shape": layer.output_shape,
                "parameters": layer.count_params(),
                "activation": getattr(layer, "activation", None),
            }
            for layer in model.layers
        ],
    }

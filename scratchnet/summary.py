"""The table that `model.summary()` prints: layers, output shapes, parameters, in Keras's layout."""

from __future__ import annotations

import io

from rich.box import ASCII, HEAVY_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scratchnet.learning import learners, moved, slots_by_layer
from scratchnet.model import Network
from scratchnet.process import encodable
from scratchnet.untrusted import printable


def summary_text(model: Network, name: str, width: int = 78, show_trainable: bool = False) -> str:
    """The summary as plain text, at most `width` columns wide."""
    drawn = encodable("\u250f\u2503\u2501") == "\u250f\u2503\u2501"
    table = Table(box=HEAVY_HEAD if drawn else ASCII, safe_box=False, width=width)
    table.add_column("Layer (type)", ratio=4)
    table.add_column("Output Shape", ratio=3)
    table.add_column("Param #", justify="right", ratio=2)
    if show_trainable:
        table.add_column("Trainable", justify="center", ratio=2)
    for layer in model.layers:
        shape = f"(None, {', '.join(map(str, layer.output_shape))})" if layer.built else "?"
        count = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
        learns = [("Y" if layer in learners(model) else "N") if layer.params else "-"]
        title = Text(printable(f"{layer.name} ({type(layer).__name__})"))
        table.add_row(title, shape, count, *(learns if show_trainable else []))
    text = io.StringIO()  # standard output may be closed, and print_fn go elsewhere
    console = Console(file=text, width=width, no_color=True, highlight=False, emoji=False)
    console.print(printable(f'Model: "{name}"'), markup=False)
    console.print(table)
    return text.getvalue() + "\n".join(_counts(model))


def _counts(model: Network) -> list[str]:
    """Parameters in all, those that learn, those that don't, and those of the optimizer: Keras's
    lines, where the optimizer counts its iterations and its learning rate too."""
    each, learned = model.theta.itemsize, sum(map(moved, learners(model)))
    total, moving = (model.theta.size, model.theta.size * each), (learned, learned * each)
    still = total[0] - moving[0], total[1] - moving[1]
    kinds = {"Trainable": moving, "Non-trainable": still}
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.owners is not None:
        slots = sum(
            slot.size for own in slots_by_layer(optimizer).values() for slot in own.values()
        )
        kinds["Optimizer"] = slots + 2, (slots + 1) * each + 8
        total = total[0] + kinds["Optimizer"][0], total[1] + kinds["Optimizer"][1]
    return [
        f" {kind} params: {count:,} ({kibibytes(size)})"
        for kind, (count, size) in ({"Total": total} | kinds).items()
    ]


def kibibytes(size: int) -> str:
    """Bytes as people read them.

    >>> kibibytes(169240)
    '165.27 KB'
    """
    value, units = float(size), ["B", "KB", "MB", "GB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.2f} {units[0]}"

"""The table that `model.summary()` prints: layers, output shapes, parameters, in Keras's layout."""

from __future__ import annotations

from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scratchnet.model import Network
from scratchnet.support import printable


def summary_text(model: Network, name: str, width: int = 78) -> str:
    """The summary as plain text, at most `width` columns wide."""
    table = Table(box=HEAVY_HEAD, width=width)
    table.add_column("Layer (type)", ratio=4)
    table.add_column("Output Shape", ratio=3)
    table.add_column("Param #", justify="right", ratio=2)
    for layer in model.layers:
        shape = f"(None, {', '.join(map(str, layer.output_shape))})" if layer.built else "?"
        title = Text(printable(f"{layer.name} ({type(layer).__name__})"))
        table.add_row(title, shape, f"{layer.count_params():,}")
    console = Console(width=width, no_color=True, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(printable(f'Model: "{name}"'), markup=False)
        console.print(table)
    count, size = model.theta.size, model.theta.itemsize
    slots = (
        sum(slot.size for slot in model.optimizer.slots.values())
        if hasattr(model, "optimizer")
        else 0
    )
    lines = [f" Parameters: {count:,} ({kibibytes(count * size)}, {model.theta.dtype})"]
    if slots:
        lines.append(f" Optimizer: {slots:,} ({kibibytes(slots * size)}, {model.optimizer.name})")
    return capture.get() + "\n".join(lines)


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

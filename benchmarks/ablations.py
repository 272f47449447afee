"""What makes the compiled engine fast, each as a switch to turn off and measure.

The names are those of `Switches` in `engines/compiled/session.py`; one that the engine does not
have is named and left out. A new switch there needs one line here.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.contestants import Contestant


class Ablation(NamedTuple):
    """A switch, and what its absence means."""

    switch: str
    words: str


ABLATIONS = (
    Ablation("flush", "denormal moments kept"),
    Ablation("zeros", "zero pixels computed like others"),
    Ablation("aligned", "parameters off their cache lines"),
    Ablation("one_call", "Python back after each batch"),
)


def contestants(threads: int) -> list[Contestant]:
    """The compiled engine whole, and with each switch off in turn."""
    base = {"engine": "compiled", "threads": threads}
    whole = Contestant("scratchnet", f"all on, {threads} thread{'s' * (threads > 1)}", base)
    off = [
        Contestant(
            "scratchnet", f"{a.words} ({a.switch} off)", base | {"switches": {a.switch: False}}
        )
        for a in ABLATIONS
    ]
    return [whole, *off]

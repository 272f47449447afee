"""One vocabulary: the options of all commands, so that each means the same wherever it stands.

A command takes what it needs, `epochs: options.Epochs = 10`, and adds only what nobody else has.
"""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


def _hush(quiet: bool) -> bool:
    """What the rooms below log, such as that the engine compiles, is not for those who want quiet.

    `ErrorHandler` sets the level back.
    """
    if quiet:
        logging.getLogger("scratchnet").setLevel(logging.ERROR)
    return quiet


class EngineName(str, Enum):  # noqa: UP042 typer prints a StrEnum's members no better
    auto = "auto"
    reference = "reference"
    compiled = "compiled"


Epochs = Annotated[int, typer.Option(min=1, metavar="N", help="Passes over the data.")]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Samples per step.")]
Seed = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Seed of weights and order."),
]
DataPath = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="An .npz or a folder of IDX files instead of MNIST."),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Use only the first N training and N test images."),
]
Unscaled = Annotated[
    bool, typer.Option("--unscaled", help="Raw pixels, 0 to 255, as in the original script.")
]
Augment = Annotated[
    int,
    typer.Option(
        min=0,
        max=20,
        metavar="N",
        help="Also train on N distorted copies of each image: turned, slanted, scaled, shifted.",
    ),
]
Engine = Annotated[
    EngineName,
    typer.Option(metavar="NAME", help="What computes: auto, reference or compiled."),
]
Threads = Annotated[int | None, typer.Option(min=1, metavar="N", help="Use at most N threads.")]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Run folder. An earlier run in it is replaced once the new one is finished; anything "
        "else is refused. Default: a new one in runs/.",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Continue a run that was interrupted or killed; it ends in the same bits as if it "
        "had not been.",
    ),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Write a checkpoint every N batches, as well as after each epoch.",
    ),
]
RunPath = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run folder, as written by train or compare."),
]
Page = Annotated[
    Path, typer.Option(metavar="FILE", help="The page; a file that is there is replaced.")
]
Course = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where your own network.py is, of `course start`: its lines are shown. A run folder "
        "never says where code is.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_hush, help="Print only the outcome.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more along the way.")]

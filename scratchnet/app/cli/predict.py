"""`scratchnet predict`: which digit a network reads on people's own photos.

Results go to standard output, one photo after the other; doubts and files that can't be read go to
standard error, and the rest go on. How a photo becomes 28 x 28 pixels is in `images.py`.
"""

from __future__ import annotations

import glob
import io
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

import scratchnet.app.cli.options as options
from scratchnet import atomic, models
from scratchnet.app import run_folder, run_training
from scratchnet.app.cli.errors import MISTAKE, UserError
from scratchnet.app.cli.screen import new_console, print_line, say
from scratchnet.app.text import dimensions, to_json, trained
from scratchnet.engines import reference
from scratchnet.sequential import Sequential

if TYPE_CHECKING:
    from scratchnet.app.images import Findings

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

EXAMPLES = """**Examples**

- `scratchnet predict five.jpg`: by the network in `runs/train`
- `scratchnet predict --model runs/train photos/ 'scans/*.png'`
- `scratchnet predict --model runs/train photos/ --json | jq '.images[].digit'`
- `scratchnet predict --model runs/train five.jpg --png seen/ --enlarge 10`

**What it does to a photo**

One digit a photo, dark on light or light on dark, anywhere on it. It is turned as its EXIF says,
light and paper are taken away, and the ink is brought to where MNIST has it: the longer side 19
pixels, the centre of mass in the middle of 28 x 28. What you see is what the network sees.

**Confidence**

The softmax of the last layer's logits, which is what a run trains under its sigmoids; the digit is
the largest logit. It says how sure the network is among ten digits, not whether there is one: a
network may be sure of a flower. Hence the warnings, which come from the picture too.

**Exit status**

- 0: every photo was read, doubts or not.
- 2: some photo couldn't be read (the others were), wrong usage, or a model that does not take
  28 x 28 pixels.
"""

TEMPERATURE = 1.5
"""What logits are divided by before their softmax: a network is surer than it is right.

The likelihood of the right digits is largest at 1.45 on MNIST's test set and at 1.5 on 300
strangers' pictures, by the script's network (C. Guo et al., On calibration of modern neural
networks, 2017). From 1.25 to 1.9, at most 4 % of the right readings of those are warned about, and
at most 0.4 % of all are wrong, not warned about, and surer than 95 %.
"""

UNSURE, UNSURE_AT_THE_EDGE = 0.65, 0.8
"""Below this confidence it is said aloud; sooner where a part of the digit may be cut off."""

SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Reading:
    """What was read on one photo; `digit` is None where there is nothing to be read."""

    image: str
    digit: int | None
    confidence: float | None
    probabilities: list[float]
    warnings: list[str]
    findings: Findings
    pixels: Pixels

    def as_dict(self) -> dict[str, Any]:
        columns = ("image", "digit", "confidence", "probabilities", "warnings")
        found = asdict(self.findings)
        del found["reasons"]  # they are the first of the warnings
        return {name: getattr(self, name) for name in columns} | found


def predict(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", help="Photos, folders of them, or patterns."),
    ],
    model: Annotated[
        Path,
        typer.Option("--model", "-m", metavar="RUN", help="A run folder, or a model's .npz."),
    ] = Path("runs/train"),
    show: Annotated[
        bool | None,
        typer.Option("--show/--no-show", help="Draw what the network sees. Default: on a screen."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option("--png", metavar="DIR", help="Write what the network sees as PNG files."),
    ] = None,
    enlarge: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Pixels a side for each, in --png.")
    ] = 1,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Read handwritten digits on your own photos with a trained network."""
    network, how = load_network(model)
    if not (quiet or as_json):
        say(f"Model: {model}{how and f', {how}'}")
    console, bad, found = new_console(), 0, []
    show = console.is_terminal and not quiet if show is None else show
    for name, path in expanded(images):
        try:
            reading = read_photo(network, path)
        except ValueError as error:
            bad += 1
            say(f"Error: {error}", style="bold red")
            found.append({"image": name, "error": str(error)})
            continue
        found.append(reading.as_dict())
        if png is not None:
            # Numbered, since photos of two folders may have one name.
            place = png / f"{len(found):03d}-{path.stem}.png"
            _save_png(reading.pixels, place, enlarge)
            found[-1]["png"] = str(place)
        for warning in reading.warnings if not (quiet or as_json) else ():
            say(f"Warning: {name}: {warning}.", style="bold yellow")
        if not as_json:
            _print_reading(console, reading, show)
    if as_json:
        typer.echo(to_json({"model": str(model), "trained": how, "images": found}), nl=False)
    if bad:
        raise typer.Exit(MISTAKE)


def load_network(path: Path) -> tuple[Sequential, str]:
    """The network of a run, finished or not, or of a model's file, if it reads 28 x 28 pixels.

    And how the run was trained; of a file that is not known.
    """
    if path.is_file():
        network, how = models.load_model(path), ""
    elif path.exists():
        run = run_folder.read_run(path)
        network, how = run.model(), trained(run.about, run.epochs)
    else:
        raise UserError(
            f"{path} does not exist. Train a network with `scratchnet train`, or name a run with "
            "--model."
        )
    takes, gives = network.input_shape[1:], network.output_shape[1:]
    if math.prod(side or 0 for side in takes) != 28 * 28 or gives != (10,):
        raise UserError(
            f"{path} has a model from {dimensions(takes)} to {dimensions(gives)}: expected one "
            "from 28 x 28 pixels to ten digits. Take a run of `scratchnet train` on MNIST."
        )
    return network, how


def expanded(names: list[str]) -> Iterator[tuple[str, Path]]:
    """Each name as it is to be said, and its path: folders and patterns as what is in them.

    A file in a folder counts if its suffix is one of a format that is read. A folder or pattern
    without any comes back itself, and is refused when it is read.
    """
    from PIL import Image

    from scratchnet.app import images

    read = images.formats()
    known = {end for end, kind in Image.registered_extensions().items() if kind in read}
    known |= set(images.HEIC)  # without its reader each is an error of one line
    for name in names:
        path, inside = Path(name), []
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in known and p.is_file())
        elif not path.exists():  # a file may have brackets in its name
            inside = sorted(Path(p) for p in glob.glob(name, recursive=True) if os.path.isfile(p))
        yield from ((str(p), p) for p in inside or [path])


def read_photo(network: Sequential, path: Path) -> Reading:
    """One photo, read; `ImageError` if it can't be."""
    from scratchnet.app import images

    pixels, findings = images.to_mnist(images.read(path))
    logits = run_training.scores_of(network, pixels.reshape(1, *network.input_shape[1:])).logits
    chances = reference.ENGINE.activations["softmax"].forward(
        logits.astype(np.float64) / TEMPERATURE
    )[0]
    warnings = list(findings.reasons)
    if findings.box is None:
        return Reading(str(path), None, None, [], warnings, findings, pixels)
    digit = int(logits[0].argmax())
    confidence = float(chances[digit])
    if confidence < UNSURE:
        second = int(chances.argsort()[-2])
        warnings.append(f"the network is unsure: {digit}, or {second}")
    if findings.touches_edge and confidence < UNSURE_AT_THE_EDGE:
        warnings.append("it runs into the edge of the picture, and may be cut off")
    return Reading(str(path), digit, confidence, chances.tolist(), warnings, findings, pixels)


# --- what is shown --------------------------------------------------------------------------------


def _print_reading(console: Console, reading: Reading, picture: bool) -> None:
    if picture:
        console.print(picture_of(reading.pixels, console), soft_wrap=True)
    if reading.confidence is None:
        line = f"{reading.image}: no digit"
    else:
        line = f"{reading.image}: {reading.digit} ({reading.confidence:.1%})"
    style = "bold" if not reading.warnings else "bold yellow"
    print_line(line, console, style)


def picture_of(pixels: Pixels, console: Console) -> Text:
    """28 x 28 pixels as 14 lines of text, two pixels a character, as well as the screen can.

    In colours each character is an upper half block, the lower pixel behind it; without colours
    it has the halves that are inked; and where not even blocks can be written, a letter as dark.
    """
    upper, lower = pixels[::2].astype(int), pixels[1::2].astype(int)
    text = Text()
    blocks = console.encoding.startswith("utf")
    for row in range(len(upper)):
        for top, bottom in zip(upper[row], lower[row], strict=True):
            if blocks and console.color_system and not console.no_color:
                style = f"rgb({top},{top},{top}) on rgb({bottom},{bottom},{bottom})"
                text.append("▀", style)
            elif blocks:
                text.append(" ▀▄█"[(top > 127) + 2 * (bottom > 127)])
            else:
                text.append(SHADES[(top + bottom) * (len(SHADES) - 1) // 510])
        text.append("\n")
    text.right_crop(1)
    return text


def _save_png(pixels: Pixels, path: Path, enlarge: int) -> None:
    """What the network saw, white on black."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    larger = pixels.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    drawn = io.BytesIO()
    Image.fromarray(larger).save(drawn, "PNG")
    atomic.write(path, drawn.getvalue())

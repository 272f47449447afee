"""A person's photo of a digit to the 28 x 28 pixels that MNIST would have made of it.

`read` turns a file into an upright picture without transparency, and refuses in one line what is no
picture, is damaged, or is too large to be decoded safely. `to_mnist` finds the ink whatever paper,
pen and lamp were, then does nearly what MNIST's makers did: the longer side to LENGTH pixels, where
theirs were 20, antialiased, the centre of mass to the middle of 28 x 28. It reads one digit, never
a number of several, and says what it found and why that may be no digit. `cli/predict.py` shows
what a model makes of it.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition,
Proc. IEEE 86 (1998), section III.A, and http://yann.lecun.com/exdb/mnist.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from scratchnet.untrusted import printable

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, ...]

MAX_PIXELS = 50_000_000
"""The largest picture that is decoded; phones have up to 50 million pixels, a bomb has 400."""

DECODED = {"WEBP": 25_000_000, "HEIF": 25_000_000, "AVIF": 40_000_000}
"""The largest of formats whose decoders take more than 8 bytes for a pixel: 400 MB all in all."""

MAX_SIDE = 65_535
"""The longest side, as in JPEG; a row or column of millions has no digit on it, but takes its
decoder's time and memory."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""What is read: formats of pictures that start no program and open no other format within."""

HEIC = (".heic", ".heif", ".hif")
"""How files are called that `pillow-heif` reads, where it is installed."""

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""What such files say they are, at byte 8 (ISO/IEC 23008-12)."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""

TILE = 2**20
"""Pixels that are converted at a time, so that a large picture is in memory once."""

FIELD, BOX = 28, 20
"""MNIST's picture, and the box that a digit fills in it."""

LENGTH = 18.75
"""The longer side of a digit from a photo, which lies on 19 or 20 pixels. MNIST's are 20 long, but
what people draw with a mouse is read best a little smaller: 300 strangers' pictures, by twelve
trainings of the script's network, 95.0 % at 20, 95.7 to 96.1 % from 19.75 to 18.5, 94.7 % at 18."""

SMALLEST, LARGEST = 320, 480
"""The longer side of the picture while ink is looked for: smaller ones are enlarged."""

FLOOR = 0.06
"""What differs from paper by less than that, in the logarithm of the light, is no ink."""

COVERED = 0.3
"""From this share of the way from paper to ink on, a pixel is of the stroke."""

LEAST = 0.02
"""What is smaller than this share of the longer side is noise."""

SWEEP = 0.3
"""What is wider than this share of the longer side is no stroke."""

FINE = 8
"""Pixels a side for each pixel of the result, while the stroke is looked at."""

STROKE = 1.9, 4.1
"""From where to where 90 % of MNIST's strokes are wide, in its pixels; others are brought there."""


class ImageError(ValueError):
    """A file that is no picture to be read: `path`, `finding` and `remedy`, and all as one line.

    >>> print(ImageError("five.png", "is empty", "Export it again"))
    five.png: is empty. Export it again.
    """

    def __init__(self, path: str | os.PathLike[str], finding: str, remedy: str):
        self.path, self.finding, self.remedy = os.fspath(path), finding, remedy
        super().__init__(printable(f"{self.path}: {finding}. {remedy}.", 4000))


@dataclass(frozen=True)
class Findings:
    """What was found on a picture."""

    box: tuple[float, float, float, float] | None
    """Left, top, right, bottom of the ink, as shares of width and height; None on a blank page."""
    inverted: bool
    """Whether the ink is lighter than the paper."""
    contrast: float
    """How far the ink's grey is from the paper's, from 0 to 1."""
    touches_edge: bool
    """Whether it runs into the edge of the picture, as tightly cut digits do, and halves of one."""
    reasons: tuple[str, ...]
    """Why this may be no digit; empty where nothing speaks against it."""


# --- a file to a picture --------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Image.Image:
    """The upright picture in a file: mode L or RGB, 8 bits, transparency filled.

    One of `FORMATS`; of several frames the first. A large picture comes back reduced, as nothing
    here needs its pixels.

    Raises:
        ImageError: for a path that is missing, no file, no picture, too large or damaged.
    """
    if os.path.isdir(path):
        raise ImageError(path, "is a folder", "Name the pictures in it")
    try:
        if os.path.getsize(path) == 0:
            raise ImageError(path, "is empty", "Export or copy it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large sizes and odd tags: judged here
            with Image.open(path, formats=formats()) as image:
                _check_size(path, image.size, image.format or "")
                image.draft(image.mode, (2 * LARGEST, 2 * LARGEST))
                image.load()
                turn = image.getexif().get(ORIENTATION)
                small = _reduced(image)
        small.getexif()[ORIENTATION] = turn or 1
        return _opaque(ImageOps.exif_transpose(small))
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(path, "does not exist", "Check the path for a typing error") from None
    except PermissionError:
        raise ImageError(path, "may not be read", "Check its permissions") from None
    except MemoryError:
        finding = "needs more memory than there is"
        raise ImageError(path, finding, "Scale it down, or cut the digit out of it") from None
    except Image.DecompressionBombError:
        raise _too_large(path, "far") from None
    except UnidentifiedImageError:
        raise _unknown(path) from None
    except Exception as error:  # broken files make Pillow's decoders raise errors of any kind
        finding = f"is damaged: {error or type(error).__name__}"
        raise ImageError(path, finding, "Export or copy it again") from error


def formats() -> list[str]:
    """Those of `FORMATS` that this Pillow can read, and HEIF where `pillow-heif` is installed."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN] + ["HEIF"] * _reads_heic()


def _reads_heic() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _unknown(path: str | os.PathLike[str]) -> ImageError:
    """The error of a file whose format is not read."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:] in BRANDS and not _reads_heic():
        finding = "is a HEIC picture, which needs pillow-heif"
        return ImageError(path, finding, "`pip install pillow-heif`, or export it as JPEG")
    finding = "is no picture in a format that can be read"
    return ImageError(path, finding, "Export it as PNG or JPEG")


def _check_size(path: str | os.PathLike[str], size: tuple[int, int], format: str) -> None:
    """From the header, before anything is decoded."""
    width, height = size
    most = DECODED.get(format, MAX_PIXELS)
    if width * height > most:
        raise _too_large(path, f"{width:,} x {height:,} pixels,", most)
    if max(size) > MAX_SIDE:
        finding = f"has {width:,} x {height:,} pixels, and no side may be longer than {MAX_SIDE:,}"
        raise ImageError(path, finding, "Cut the digit out of it")


def _too_large(path: str | os.PathLike[str], how: str, most: int = MAX_PIXELS) -> ImageError:
    finding = f"has {how} more than the {most // 10**6} million that are decoded"
    return ImageError(path, finding, "Scale it down, or cut the digit out of it")


def _reduced(image: Image.Image) -> Image.Image:
    """As L, RGB or RGBA with 8 bits, the longer side at most 4 LARGEST, by averaging tiles."""
    deep = image.mode.startswith(("I", "F"))
    transparent = "A" in image.getbands() or "transparency" in image.info
    mode = "L" if deep else "RGBA" if transparent else "L" if image.mode in "1L" else "RGB"
    factor = max(1, max(image.size) // (2 * LARGEST))
    if factor == 1 and not deep:
        return image.copy() if image.mode == mode else image.convert(mode)
    low, high = _levels(image) if deep else (0.0, 0.0)
    across, down = (min(factor, length) for length in image.size)
    small = Image.new(mode, (-(-image.width // across), -(-image.height // down)))
    for box in _tiles(image.size, across, down):
        tile = image.crop(box)
        tile = _eight_bits(tile, low, high) if deep else tile.convert(mode)
        small.paste(tile.reduce((across, down)), (box[0] // across, box[1] // down))
    return small


def _tiles(size: tuple[int, int], across: int, down: int) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of about TILE pixels that cover a picture, whole multiples of the factors apart."""
    width, height = size
    wide = min(width, across * max(1, TILE // (across * down)))
    high = down * max(1, TILE // (wide * down))
    for top in range(0, height, high):
        for left in range(0, width, wide):
            yield left, top, min(left + wide, width), min(top + high, height)


def _levels(image: Image.Image) -> tuple[float, float]:
    """What becomes 0 and 255 of 16 and 32 bits, whole or not: nothing, and the brightest pixel."""
    parts = [_finite(image.crop(box)) for box in _tiles(image.size, 1, 1)]
    return min(0.0, *(low for low, _ in parts)), max(high for _, high in parts)


def _finite(tile: Image.Image) -> tuple[float, float]:
    levels = np.nan_to_num(np.asarray(tile, np.float64), posinf=0.0, neginf=0.0)
    return float(levels.min()), float(levels.max())


def _eight_bits(tile: Image.Image, low: float, high: float) -> Image.Image:
    levels = np.nan_to_num(np.asarray(tile, np.float64), posinf=0.0, neginf=0.0) - low
    return Image.fromarray((levels * (255 / max(high - low, 1e-30))).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """As L or RGB; what shows through a transparent place is chosen to show the ink."""
    image = _reduced(image)
    if image.mode != "RGBA":
        return image
    alpha = np.asarray(image.getchannel("A"))
    luma = np.asarray(image.convert("RGB").convert("L"), np.float32)
    solid = luma[alpha > 127]
    if solid.size > alpha.size / 2 and solid.std() > 16:  # a page with torn edges, not bare ink
        behind = (int(np.median(solid)),) * 3
    else:
        dark = np.average(luma, weights=alpha) < 128 if alpha.any() else True
        behind = (255, 255, 255) if dark else (0, 0, 0)
    page = Image.new("RGBA", image.size, (*behind, 255))
    page.alpha_composite(image)
    return page.convert("RGB")


# --- a picture to 28 x 28 -------------------------------------------------------------------------


def to_mnist(image: Image.Image) -> tuple[NDArray[np.uint8], Findings]:
    """The digit on a picture as MNIST has it, (28, 28) uint8, ink 255 on 0; and what was found.

    A picture that is so already comes back as it is. A page where nothing is found comes back as
    zeros, with a reason.

    >>> page = Image.new("L", (300, 400), "white")
    >>> page.paste("black", (140, 100, 160, 300))
    >>> one, findings = to_mnist(page)
    >>> one.shape, int((one > 0).sum()), findings.reasons
    ((28, 28), 57, ())
    """
    image = _opaque(image)
    ready = _ready(image)
    if ready is not None:
        return ready
    page = _sized(image)
    log = _logarithm(page)
    digits = [digit for sign in (1, -1) if (digit := _find(log, sign)) is not None]
    if not digits:
        nothing = Findings(None, False, 0.0, False, ("no strokes were found on it",))
        return np.zeros((FIELD, FIELD), np.uint8), nothing
    digit = max(digits, key=lambda digit: digit.score)
    mask = _stroke(digit)
    return _placed(mask), _findings(page, digit, mask)


def _ready(image: Image.Image) -> tuple[NDArray[np.uint8], Findings] | None:
    """A picture that is MNIST's already, or its negative: in the box, and centred by mass."""
    if image.size != (FIELD, FIELD):
        return None
    grey = np.asarray(image.convert("L"))
    for digit, inverted in ((grey, True), (255 - grey, False)):
        rows, columns = np.nonzero(digit)
        if rows.size == 0:
            continue
        longer = 1 + max(np.ptp(rows), np.ptp(columns))
        away = np.abs(np.subtract(ndimage.center_of_mass(digit), FIELD / 2)).max()
        if BOX - 2 <= longer <= BOX and away <= 0.75:
            box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            left, top, right, bottom = (float(edge) / FIELD for edge in box)
            contrast = float(np.ptp(digit)) / 255
            return digit.copy(), Findings((left, top, right, bottom), inverted, contrast, False, ())
    return None


def _sized(image: Image.Image) -> Image.Image:
    """The longer side between SMALLEST and LARGEST, by averaging or by smooth enlargement."""
    longer = max(image.size)
    side = min(max(longer, SMALLEST), LARGEST)
    if side == longer:
        return image
    size = tuple(max(1, round(length * side / longer)) for length in image.size)
    how = Image.Resampling.BOX if side < longer else Image.Resampling.BICUBIC
    return image.resize(size, how)  # type: ignore[arg-type]


# --- where the ink is -----------------------------------------------------------------------------


class _Digit(NamedTuple):
    """The strokes that make the digit, as one polarity shows them."""

    score: float
    """How much ink there is, all in all."""
    ink: Field
    """How much each pixel is ink, (H, W): 0 on paper."""
    cut: float
    """The value of `ink` that parts the two."""
    strokes: Mask
    box: Box
    """Around the strokes."""
    pieces: int
    """How many strokes apart from each other."""
    others: int
    """Other things on the page, nearly as strong."""
    cut_off: bool
    """Whether the digit runs into the edge of the picture."""


def _logarithm(page: Image.Image) -> Field:
    """(H, W, C), smoothed: light multiplies what paper and ink reflect, so here it adds."""
    levels = np.log(np.asarray(page, np.float32) + 16)
    levels = levels.reshape(*levels.shape[:2], -1)
    smooth: Field = ndimage.gaussian_filter(levels, 1.0, axes=(0, 1))
    return smooth


def _find(log: Field, sign: int) -> _Digit | None:
    """The digit if ink is darker (sign 1) or lighter (-1) than paper: the strongest isolated thing.

    Paper is what is left when everything is painted over that is darker than all around it and
    narrower than SWEEP: a closing, which leaves shadows and the edges of sheets where they are. Of
    the colours that mixture is taken in which ink differs most from paper.
    """
    levels = sign * log
    away = _closed(levels) - levels
    away = away - np.median(away, axis=(0, 1))
    flat = away.reshape(-1, away.shape[2])
    mixture = np.linalg.eigh(flat.T @ flat)[1][:, -1]
    mixture = mixture / mixture.sum()  # of equal colours their mean: grey is grey in RGB too
    ink = away @ mixture
    cut = _cut(ink, sign)
    return _gather(ink, cut, -(levels @ mixture))


def _closed(levels: Field) -> Field:
    """Every pit narrower than SWEEP filled; what reaches the picture's edge goes on beyond it."""
    half = round(SWEEP / 2 * max(levels.shape))
    size = 2 * half + 1
    wide = np.pad(levels, ((half, half), (half, half), (0, 0)), mode="edge")
    wide = ndimage.maximum_filter(wide, size, mode="nearest", axes=(0, 1))
    filled: Field = ndimage.minimum_filter(wide, size, axes=(0, 1))[half:-half, half:-half]
    return filled


def _cut(ink: Field, sign: int) -> float:
    """A third of the way from paper to ink, and above the noise in any case.

    A third in light, not in its logarithm: a pixel that a stroke covers by half is half as dark, so
    that thin and antialiased strokes hold together, whichever of the two is the darker.
    """
    noise = 1.4826 * float(np.median(np.abs(ink)))  # the standard deviation, if normal
    floor = max(FLOOR, 4 * noise)
    above = ink[ink > floor]
    if above.size == 0:
        return floor
    strong = float(np.mean(above[above >= _otsu(above)]))
    return max(floor, -sign * math.log1p(COVERED * math.expm1(-sign * strong)))


def _gather(ink: Field, cut: float, darkness: Field) -> _Digit | None:
    """The strongest isolated thing above the cut, with the strokes beside it that belong to it."""
    labels, count = ndimage.label(ink > cut, np.ones((3, 3)))
    if count == 0:
        return None
    boxes = ndimage.find_objects(labels)
    numbers = np.arange(1, count + 1)
    mass = np.asarray(ndimage.sum_labels(ink, labels, numbers))
    edges = np.unique(np.r_[labels[[0, -1]].ravel(), labels[:, [0, -1]].ravel()])
    touching = np.isin(numbers, edges)
    isolated = np.zeros(count)
    for i in map(int, np.flatnonzero(mass > 0.01 * mass.max())):
        isolated[i] = _isolation(labels, i + 1, boxes[i], ink, darkness)
    score = mass * isolated * np.where(touching, 0.1, 1.0)
    for i in map(int, np.flatnonzero(score > 0.01 * score.max())):
        score[i] *= _thinness(labels[boxes[i]] == i + 1)
    main = int(np.argmax(score))
    if score[main] == 0 or _longer(boxes[main]) < LEAST * max(ink.shape):
        return None
    ink_too = (mass > 0.02 * mass[main]) & (isolated > 0.2) & ~touching
    worth = [int(i) for i in np.argsort(-mass) if ink_too[i]]
    belongs, box = {main}, boxes[main]
    for i in worth * 2:  # twice, as what was too far from the main stroke may be near a later one
        if i not in belongs and _is_part(box, boxes[i], _longer(boxes[main])):
            belongs.add(i)
            box = _union(box, boxes[i])
    others = sum(i not in belongs and score[i] > 0.3 * score[main] for i in worth)
    strokes = np.isin(labels, [i + 1 for i in belongs])
    cut_off = bool(touching[main])
    return _Digit(float(score[main]), ink, cut, strokes, box, len(belongs), others, cut_off)


def _is_part(digit: Box, stroke: Box, main: int) -> bool:
    """Whether a stroke is near enough; one as tall, and beside, is more likely the next digit.

    And no digit is three times as long as its main stroke.
    """
    tall = stroke[0].stop - stroke[0].start > 0.6 * main
    beside = max(digit[1].start - stroke[1].stop, stroke[1].start - digit[1].stop) >= 0
    near = _gap(digit, stroke) <= (0.1 if tall and beside else 0.25) * main
    return near and _longer(_union(digit, stroke)) <= 3 * main


def _isolation(
    labels: NDArray[np.int32], number: int, box: Box, ink: Field, darkness: Field
) -> float:
    """0 to 1: how dark it is against what surrounds its box, beside how dark against its paper.

    The inside of a 0, taken for light ink on a dark page, has 0: it is surrounded by its own like.
    """
    margins = max(3, _longer(box) // 4), 2
    wide, close = (_around(box, margin, ink.shape) for margin in margins)
    thing, dark = labels[wide] == number, darkness[wide]
    outside = np.ones(thing.shape, bool)
    outside[
        tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(close, wide, strict=True))
    ] = False
    if not outside.any():
        return 1.0
    contrast = np.median(dark[thing]) - np.quantile(dark[outside], 0.75)
    return float(np.clip(contrast / np.median(ink[wide][thing]), 0, 1))


def _thinness(thing: Mask) -> float:
    """1 for strokes, of which MNIST's widest are 0.4 as wide as long; near 0 for patches."""
    wide = 4 * float(_depth(thing)[thing].mean()) / max(thing.shape)
    return float(np.clip((0.45 - wide) / 0.05, 0.01, 1))


def _around(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    return tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, length))
        for side, length in zip(box, shape, strict=True)
    )


def _otsu(values: Field) -> float:
    """The cut that parts values best in two: most variance between the parts (N. Otsu, 1979)."""
    # In float64: between two neighbours in float32 no 128 edges fit.
    counts, edges = np.histogram(values.astype(np.float64), 128)
    middles = (edges[1:] + edges[:-1]) / 2
    share = np.cumsum(counts)[:-1] / counts.sum()
    mass = np.cumsum(counts * middles) / counts.sum()
    between = (mass[-1] * share - mass[:-1]) ** 2 / np.maximum(share * (1 - share), 1e-12)
    return float(edges[1 + np.argmax(between)])


def _longer(box: Box) -> int:
    return max(side.stop - side.start for side in box)


def _gap(one: Box, other: Box) -> int:
    """Pixels between two boxes, along the axis where there are more."""
    return max(max(a.start - b.stop, b.start - a.stop, 0) for a, b in zip(one, other, strict=True))


def _union(one: Box, other: Box) -> Box:
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )


# --- MNIST's form ---------------------------------------------------------------------------------


def _stroke(digit: _Digit) -> Mask:
    """The digit in black and white as NIST's scans were, 160 pixels long, as wide as MNIST's."""
    place = _around(digit.box, 4, digit.ink.shape)
    near = ndimage.binary_dilation(digit.strokes[place], iterations=3)  # their soft edges too
    mask = _fine(np.where(near, digit.ink[place], 0), digit.cut)
    width, (low, high) = _width(mask), STROKE
    if width < low:
        more = (low + 0.4 - width) / 2 * FINE
        mask = ndimage.distance_transform_edt(~np.pad(mask, int(more) + 1)) <= more
    elif width > high:
        mask = _depth(mask) > (width - high) / 2 * FINE
    return _fine(_cropped(mask).astype(np.float32), 0.5)


def _fine(ink: Field, cut: float) -> Mask:
    """What is above the cut, its own box scaled until the longer side has 160 pixels."""
    scale = FINE * BOX / max(_cropped(ink > cut).shape)
    image = Image.fromarray(ink)
    size = [max(1, round(length * scale)) for length in image.size]
    return _cropped(np.asarray(image.resize((size[0], size[1]), Image.Resampling.BICUBIC)) > cut)


def _depth(mask: Mask) -> NDArray[np.float64]:
    """How far each pixel is from what is not ink."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(mask, 1))
    return depth[1:-1, 1:-1]


def _width(mask: Mask) -> float:
    """The mean width of a stroke in MNIST's pixels: a band of width w is w / 4 deep in the mean."""
    return 4 * float(_depth(mask)[mask].mean()) / FINE


def _cropped(mask: Mask) -> Mask:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _placed(mask: Mask) -> NDArray[np.uint8]:
    """Black and white to grey in 28 x 28, LENGTH pixels long: a pixel is as grey as it is covered.

    The centre of mass is at index 14, where MNIST has it to half a pixel, unless an end of the
    digit would not be on the picture then.
    """
    each = max(mask.shape) / LENGTH
    margin = math.ceil(FIELD * each)
    page = Image.fromarray(np.pad(mask, margin).astype(np.float32))
    middle = margin + 0.5 + np.asarray(ndimage.center_of_mass(mask))
    least = margin + np.array(mask.shape) - FIELD * each
    top, left = np.clip(middle - (FIELD / 2 + 0.5) * each, least, margin)
    window = left, top, left + FIELD * each, top + FIELD * each
    grey = np.asarray(page.resize((FIELD, FIELD), Image.Resampling.BOX, window))
    return np.round(255 * np.clip(grey / grey.max(), 0, 1)).astype(np.uint8)


# --- what to think of it --------------------------------------------------------------------------


def _findings(page: Image.Image, digit: _Digit, mask: Mask) -> Findings:
    grey = np.asarray(page.convert("L"), np.float32)
    core = digit.strokes & (digit.ink >= np.median(digit.ink[digit.strokes]))
    ink, paper = np.median(grey[core]), np.median(grey[~digit.strokes])
    (top, bottom), (left, right) = (
        (side.start / length, side.stop / length)
        for side, length in zip(digit.box, grey.shape, strict=True)
    )
    contrast = float(abs(ink - paper)) / 255
    reasons = _doubts(digit, mask, max(bottom - top, right - left), contrast)
    box = left, top, right, bottom
    return Findings(box, bool(ink > paper), contrast, digit.cut_off, reasons)


def _doubts(digit: _Digit, mask: Mask, size: float, contrast: float) -> tuple[str, ...]:
    """What speaks against a digit; of MNIST's own, fewer than one in a hundred would get any."""
    share, bar = float(mask.mean()), 2 * min(mask.shape) < max(mask.shape)
    holes = ndimage.label(~np.pad(mask, 1))[0]
    large = int(np.count_nonzero(np.bincount(holes.ravel())[2:] > 3 * FINE**2))
    doubts = {
        "there are several things on it, and the strongest was read": digit.others > 0,
        f"ink covers {share:.0%} of its box, more than strokes do": share > 0.7 and not bar,
        f"it has {large} holes": large > 2,
        f"it is in {digit.pieces} pieces": digit.pieces > 4,
        f"it is only {size:.1%} of the picture's size": size < 0.03,
        "it is hardly darker or lighter than its paper": contrast < 0.1,
    }
    return tuple(doubt for doubt, holds in doubts.items() if holds)

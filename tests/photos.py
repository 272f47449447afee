"""Handwritten digits as people photograph them: an inked page, a lamp, a lens, a file.

`photograph` turns a 28 x 28 digit into the bytes of an image file, of a kind named below. The eight
kinds of KINDS are scored, those of EXTRA are reported beside them. What reads photos is tuned on
digits of the training set with other seeds; SCORING_SEED, with digits of the test set, was written
down before any of that existed, is for `tests/test_images.py` alone, and a photo of it that is
misread must not be looked at. It knows nothing of `scratchnet`, so it can't favour it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageDraw
from scipy import ndimage

Point = tuple[float, float]

SCORING_SEED = 41_1998_86
"""For the score, and for nothing else."""

KINDS = (
    "rotated by EXIF",
    "inverted",
    "off-centre",
    "coloured paper",
    "uneven light",
    "alpha",
    "2000 px",
    "noisy",
)
EXTRA = ("ruled paper", "on a desk", "everything at once")

PAPERS = {
    "white": (244, 243, 238),
    "cream": (238, 228, 200),
    "yellow": (250, 226, 92),
    "pink": (247, 168, 184),
    "green": (176, 220, 160),
    "blue": (160, 200, 236),
    "orange": (246, 176, 96),
    "brown": (186, 150, 110),
    "grey": (170, 170, 172),
}
PENS = {"black": (28, 28, 32), "blue": (30, 50, 150), "red": (170, 28, 36), "green": (14, 92, 48)}
PENS["pencil"] = (92, 92, 96)
BOARDS = {"black": (24, 26, 28), "green": (30, 62, 50), "navy": (24, 30, 70), "red": (110, 20, 28)}
CHALKS = {"white": (240, 240, 236), "yellow": (246, 232, 120), "pink": (250, 190, 200)}
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""For each EXIF orientation how the sensor's rows lie; a viewer undoes it (EXIF 2.32, 4.6.4)."""
DESKS = {"walnut": (84, 56, 38), "black": (30, 30, 32), "oak": (150, 112, 72)}


def _arc(x: float, y: float, a: float, b: float, start: float, stop: float) -> list[Point]:
    """Points of an ellipse about (x, y), from one angle to another, in degrees, 0 at the right."""
    return [
        (x + a * np.cos(t), y + b * np.sin(t)) for t in np.radians(np.linspace(start, stop, 40))
    ]


PENCILLED: dict[int, list[list[Point]]] = {
    0: [_arc(0, 0, 0.7, 1.4, -90, 280)],
    1: [[(-0.35, -1.0), (0, -1.4), (0, 1.4)]],
    2: [[*_arc(0, -0.65, 0.75, 0.75, -170, 30), (-0.8, 1.35), (0.9, 1.35)]],
    3: [[*_arc(-0.1, -0.7, 0.75, 0.7, -150, 80), *_arc(-0.1, 0.65, 0.85, 0.7, -80, 150)]],
    4: [[(0.1, -1.4), (-0.8, 0.4), (0.9, 0.4)], [(0.4, -0.4), (0.4, 1.4)]],
    5: [
        [(-0.6, -1.3), (-0.65, -0.1), *_arc(-0.1, 0.55, 0.8, 0.8, -130, 140)],
        [(-0.55, -1.38), (0.8, -1.4)],
    ],
    6: [[(0.5, -1.4), (-0.4, -0.4), (-0.7, 0.5), *_arc(0, 0.7, 0.7, 0.7, -180, 180)]],
    7: [[(-0.8, -1.3), (0.8, -1.3), (-0.2, 1.4)]],
    8: [[(0.6 * np.sin(2 * t), 1.4 * np.cos(t)) for t in np.linspace(0, 2 * np.pi, 80)]],
    9: [[*_arc(0, -0.7, 0.6, 0.65, 0, -360), (0.6, -0.6), (0.4, 1.4)]],
}
"""Strokes for each digit, about (0, 0), 2.8 high: photos for where there is no MNIST."""


def pencilled(
    digit: int,
    size: tuple[int, int] = (300, 400),
    width: int = 14,
    height: float = 0.6,
    middle: tuple[float, float] = (0.5, 0.5),
    ink: int = 40,
    paper: int = 235,
) -> Image.Image:
    """A digit of straight and round strokes in even light; `height` is a share of the page's."""
    page = Image.new("L", size, paper)
    scale = height * size[1] / 2.8
    pen, (x, y) = ImageDraw.Draw(page), (middle[0] * size[0], middle[1] * size[1])
    for stroke in PENCILLED[digit]:
        line = [(x + scale * u, y + scale * v) for u, v in stroke]
        pen.line(line, fill=ink, width=width, joint="curve")
    return page


class Photo(NamedTuple):
    """One file, and what is on it."""

    kind: str
    label: int
    content: bytes
    suffix: str


@dataclass(frozen=True)
class Scene:
    """How a page looks before it is photographed. Lengths are shares of the shorter side."""

    width: int
    height: int
    paper: str = "white"
    pen: str = "black"
    digit: float = 0.45
    """The height of MNIST's 28 pixels; the digit itself has 20 of them at most."""
    wander: float = 0.1
    """How far from the middle, as a share of the free way to the edge."""
    gradient: float = 0.15
    """How much darker the dim end is than the bright one."""
    shadow: float = 0.0
    noise: float = 3.0
    specks: int = 0
    blur: float = 0.0015
    inverted: bool = False
    ruled: bool = False
    desk: str = ""
    orientation: int = 1
    """The EXIF tag, 1 to 8."""


def album(
    images: np.ndarray, labels: np.ndarray, count: int, seed: int, kinds: tuple[str, ...] = KINDS
) -> list[Photo]:
    """`count` photos of distinct digits, the kinds in turn."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(images), count, replace=False)
    return [
        photograph(images[index], int(labels[index]), kinds[i % len(kinds)], rng)
        for i, index in enumerate(chosen)
    ]


def photograph(digit: np.ndarray, label: int, kind: str, rng: np.random.Generator) -> Photo:
    """One photo of a digit (28, 28) uint8, ink 255 on 0."""
    if kind == "alpha":
        content, suffix = _drawing(digit, rng)
    else:
        scene = _scene(kind, rng)
        content, suffix = _encoded(_lit(_page(digit, scene, rng), scene, rng), scene, kind, rng)
    return Photo(kind, label, content, suffix)


# --- what is photographed -------------------------------------------------------------------------


def _scene(kind: str, rng: np.random.Generator) -> Scene:
    """An ordinary page, made difficult in the way of its kind."""
    short = int(rng.integers(320, 720))
    long = int(short * rng.choice([1.0, 4 / 3, 1.5]))
    width, height = (short, long) if rng.random() < 0.5 else (long, short)
    scene = Scene(
        width,
        height,
        pen=str(rng.choice(["black", "blue", "pencil"], p=[0.5, 0.35, 0.15])),
        digit=rng.uniform(0.4, 1.0),
        wander=rng.uniform(0.0, 0.4),
        gradient=rng.uniform(0.0, 0.3),
        noise=rng.uniform(1.0, 5.0),
        blur=rng.uniform(0.0005, 0.003),
    )
    everything = kind == "everything at once"
    if kind == "rotated by EXIF" or everything:
        scene = replace(scene, orientation=int(rng.integers(2, 9)))
    if kind == "inverted":
        paper, pen = str(rng.choice(list(BOARDS))), str(rng.choice(list(CHALKS)))
        scene = replace(scene, inverted=True, paper=paper, pen=pen)
    if kind == "off-centre" or everything:
        scene = replace(scene, digit=rng.uniform(0.16, 0.4), wander=1.0)
    if kind == "coloured paper" or everything:
        paper = str(rng.choice([name for name in PAPERS if name != "white"]))
        pens = [pen for pen in PENS if _contrast(paper, pen) > 60]
        scene = replace(scene, paper=paper, pen=str(rng.choice(pens)))
    if kind == "uneven light" or everything:
        scene = replace(scene, gradient=rng.uniform(0.4, 0.65), shadow=rng.uniform(0.2, 0.5))
    if kind == "2000 px":
        sides = (2000, int(rng.choice([1125, 1500, 2000])))
        width, height = sides if rng.random() < 0.5 else sides[::-1]
        scene = replace(scene, width=width, height=height, digit=rng.uniform(0.2, 0.9))
    if kind == "noisy" or everything:
        scene = replace(scene, noise=rng.uniform(10, 24), specks=int(rng.integers(0, 60)))
    if kind == "ruled paper":
        scene = replace(scene, ruled=True, digit=rng.uniform(0.3, 0.6))
    if kind == "on a desk":
        scene = replace(scene, desk=str(rng.choice(list(DESKS))), digit=rng.uniform(0.3, 0.6))
    return scene


def _contrast(paper: str, pen: str) -> float:
    """The difference in luma, 0 to 255 (ITU-R BT.601)."""
    return float(np.dot(np.subtract(PAPERS[paper], PENS[pen]), (0.299, 0.587, 0.114)))


def _page(digit: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The inked page in even light, (H, W, 3), 0 to 255."""
    papers, pens = (BOARDS, CHALKS) if scene.inverted else (PAPERS, PENS)
    shape = scene.height, scene.width
    grain = 2.5 * ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), 0.8)
    page = np.array(papers[scene.paper], np.float32) + grain[..., None]
    if scene.ruled:
        _rule(page, rng)
    short, free = min(shape), np.array(shape) - 0.72 * scene.digit * min(shape)
    # The outermost place still has a margin, for who writes to the very edge cuts the digit off.
    way = rng.uniform(-1, 1, 2) if scene.wander < 1 else rng.choice([-1, 1], 2) * 0.9
    middle = np.array(shape) / 2 + way * scene.wander * np.maximum(free / 2 - 0.03 * short, 0)
    cover = _ink(digit, shape, middle, scene.digit * short / 28, rng)
    pressure = 1 - 0.25 * _smooth(rng, shape)
    cover = cover * (1 - 0.2 * rng.random(shape, np.float32) if scene.inverted else pressure)
    page += cover[..., None] * (np.array(pens[scene.pen], np.float32) - page)
    return _on_desk(page, scene, rng) if scene.desk else page


def _ink(
    digit: np.ndarray,
    shape: tuple[int, int],
    middle: np.ndarray,
    scale: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """How far ink covers each pixel, 0 to 1: the digit enlarged to a pen's stroke, a little tilted.

    Cubic interpolation of the grey levels, cut near half of the digit's own darkest: a contour as
    smooth as a pen's, wider or narrower as the cut is lower or higher.
    """
    angle = np.radians(rng.uniform(-7, 7))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.array([[1.0, rng.uniform(-0.08, 0.08)], [0.0, rng.uniform(0.92, 1.08)]])
    back = np.linalg.inv(turn) / scale
    grey = ndimage.affine_transform(
        ndimage.spline_filter(digit.astype(float)).astype(np.float32),
        back,
        13.5 - back @ middle,
        shape,
        np.float32,
        prefilter=False,
    )
    cut = rng.uniform(0.32, 0.52) * digit.max()
    return np.clip((grey - cut) / (0.3 * digit.max()) + 0.5, 0, 1)


def _rule(page: np.ndarray, rng: np.random.Generator) -> None:
    """Pale blue lines, and on every other page columns too."""
    height, width = page.shape[:2]
    step, thick = (
        int(min(height, width) * rng.uniform(0.06, 0.12)),
        max(1, min(height, width) // 300),
    )
    line = np.array([150, 178, 214], float)
    squared = rng.random() < 0.5
    for start in range(step // 2, max(height, width), step):
        page[start : start + thick] += 0.7 * (line - page[start : start + thick])
        if squared:
            page[:, start : start + thick] += 0.7 * (line - page[:, start : start + thick])


def _on_desk(page: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The page as a sheet that ends within the picture, on three sides, and tilted."""
    height, width = page.shape[:2]
    desk = np.array(DESKS[scene.desk], float) + 10 * _smooth(rng, (height, width))[..., None]
    rows, columns = np.mgrid[:height, :width]
    slope = rng.uniform(-0.06, 0.06)
    margins = rng.uniform(0.03, 0.12, 4) * min(height, width) * (rng.permutation(4) > 0)
    skewed = rows + slope * columns, columns - slope * rows
    inside = (skewed[0] > margins[0]) & (skewed[0] < height - margins[1])
    inside &= (skewed[1] > margins[2]) & (skewed[1] < width - margins[3])
    soft = ndimage.gaussian_filter(inside.astype(float), 1.0)[..., None]
    return page * soft + desk * (1 - soft)


# --- light, lens and file -------------------------------------------------------------------------


def _smooth(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A slow random field from 0 to 1."""
    coarse = rng.random((5, 5))
    rows, columns = (np.linspace(0, 4, side) for side in shape)
    field = np.asarray(
        ndimage.map_coordinates(coarse, np.meshgrid(rows, columns, indexing="ij"), order=1)
    )
    return field


def _lit(page: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The page under the scene's lamp, through lens and sensor: (H, W, 3) uint8."""
    height, width = page.shape[:2]
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = (rows * np.sin(angle) + columns * np.cos(angle)) / np.sqrt(2)
    light = 1 - scene.gradient * (0.5 + 0.5 * along)
    if scene.shadow:
        edge = rows * np.cos(angle) + columns * np.sin(angle) - rng.uniform(-0.5, 0.5)
        light = light * (1 - scene.shadow / (1 + np.exp(-edge / rng.uniform(0.02, 0.2))))
    seen = page * light[..., None]
    seen = ndimage.gaussian_filter(seen, scene.blur * min(height, width), axes=(0, 1))
    seen += scene.noise * rng.standard_normal(seen.shape[:2], np.float32)[..., None]
    seen += scene.noise / 2 * rng.standard_normal(seen.shape, np.float32)
    for _ in range(scene.specks):
        row, column, size = *rng.integers(0, (height, width)), max(1, min(height, width) // 250)
        seen[row : row + size, column : column + size] = rng.choice([0, 255])
    return np.clip(seen, 0, 255).astype(np.uint8)


def _encoded(
    seen: np.ndarray, scene: Scene, kind: str, rng: np.random.Generator
) -> tuple[bytes, str]:
    """As a camera or a scanner writes it."""
    image = Image.fromarray(seen)
    file = io.BytesIO()
    if scene.orientation in STORED:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = scene.orientation
        image.transpose(STORED[scene.orientation]).save(file, "JPEG", quality=85, exif=exif)
        return file.getvalue(), ".jpg"
    suffix = ".jpg" if kind == "noisy" else str(rng.choice([".jpg", ".png", ".webp"]))
    if suffix == ".png":
        image.convert(str(rng.choice(["RGB", "L"]))).save(file, "PNG", compress_level=1)
    else:
        low = 30 if kind == "noisy" else 70
        quality = int(rng.integers(low, low + 25))
        image.save(file, "JPEG" if suffix == ".jpg" else "WEBP", quality=quality)
    return file.getvalue(), suffix


def _drawing(digit: np.ndarray, rng: np.random.Generator) -> tuple[bytes, str]:
    """A drawing on nothing, as tablets save it: all of the ink, or part of it, is in the alpha."""
    side = int(rng.integers(200, 800))
    shape, scale = (side, side), side * rng.uniform(0.5, 1.2) / 28
    cover = _ink(digit, shape, np.array(shape) / 2 + rng.uniform(-0.05, 0.05, 2) * side, scale, rng)
    alpha = Image.fromarray((255 * cover).astype(np.uint8))
    ink = (20, 20, 24) if rng.random() < 0.6 else (250, 250, 250)
    way = rng.integers(4)
    if way == 0:  # one colour everywhere: without alpha there is nothing to be seen
        image = Image.new("RGB", shape, ink)
        image.putalpha(alpha)
    elif way == 1:  # what lies under full transparency is rubbish, and must not be seen
        under = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
        under[cover > 0] = ink
        image = Image.fromarray(under)
        image.putalpha(alpha)
    elif way == 2:
        image = Image.merge("LA", (Image.new("L", shape, ink[0]), alpha))
    else:  # a palette with a transparent colour
        image = Image.fromarray((cover > 0.5).astype(np.uint8))
        image.putpalette([128, 128, 128, *ink])
    file = io.BytesIO()
    image.save(file, "PNG", **({"transparency": 0} if way == 3 else {}))
    return file.getvalue(), ".png"

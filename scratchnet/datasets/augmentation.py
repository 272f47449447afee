"""More training images from those there are: turned, slanted, scaled, shifted copies.

People write digits larger, smaller and more slanted than MNIST's writers did; a network that has
seen such copies reads photos better. It is off unless asked for: the script's job stays the
script's.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition,
Proc. IEEE 86 (1998), section III.D, distorted training set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TURN, SLANT, SCALE, SHIFT = 12.0, 0.2, 0.15, 1.5
"""At most so many degrees, shear, share of the size, and pixels, each drawn uniformly."""


def affine_copies(
    x: NDArray[Any], y: NDArray[Any], copies: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The images (N, H, W) and `copies` distorted versions of each, (N (1 + copies), H, W).

    A copy's pixel at p is the original's at M (p - c - t) + c, between pixels by linear
    interpolation and 0 beyond the border, where c is the centre, t a shift, and M turns, slants
    and scales. Labels are repeated; the originals come first, in their order. dtype is kept.

    Raises:
        ValueError: for images that have not two axes, or copies that are no integer >= 0.

    >>> x, y = np.zeros((2, 28, 28), np.uint8), np.array([3, 4])
    >>> more, labels = affine_copies(x, y, 2, np.random.default_rng(0))
    >>> more.shape, more.dtype, labels.tolist()
    ((6, 28, 28), dtype('uint8'), [3, 4, 3, 4, 3, 4])
    """
    from scipy import ndimage

    if x.ndim != 3:
        raise ValueError(f"x has shape {x.shape}: expected grey images, (samples, height, width).")
    if isinstance(copies, bool) or not isinstance(copies, int | np.integer) or copies < 0:
        raise ValueError(f"copies={copies!r}: expected an integer >= 0.")
    centre = (np.array(x.shape[1:]) - 1) / 2
    parts = [x]
    for _ in range(copies):
        distorted = np.empty_like(x)
        shifts = rng.uniform(-SHIFT, SHIFT, (len(x), 2))
        for image, matrix, shift, out in zip(
            x, _matrices(len(x), rng), shifts, distorted, strict=True
        ):
            offset = centre - matrix @ (centre + shift)
            ndimage.affine_transform(image, matrix, offset, output=out, order=1)
        parts.append(distorted)
    return np.concatenate(parts), np.tile(y, 1 + copies)


def _matrices(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 2, 2): a turn after a slant, over a scale."""
    angle = np.deg2rad(rng.uniform(-TURN, TURN, count))
    slant = rng.uniform(-SLANT, SLANT, count)
    scale = 1 + rng.uniform(-SCALE, SCALE, count)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)
    shear = np.tile(np.eye(2), (count, 1, 1))
    shear[:, 1, 0] = slant
    return (turn @ shear) / scale[:, None, None]

"""Real handwritten digits that need no network: scikit-learn's 1,797, brought to MNIST's form.

They are the default where MNIST is missing, and they are not MNIST: 8 x 8 originals by 13 writers,
some forty times fewer, so accuracies from one say nothing about the other. Enlarging and centring
are integer arithmetic, so every machine gets the same bytes. See `mnist.py` for the real thing.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from scratchnet.datasets.formats import Bytes, Data

NAME = "scikit-learn digits"


def load_data() -> Data:
    """1,437 training and 360 test digits: images (N, 28, 28) and labels (N,), uint8.

    Sorted by class, every fifth digit is for testing: each class is split 4 : 1, and no random
    numbers are involved. Within each part the digits keep scikit-learn's order.

    Source: the test set of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits,
    UCI Machine Learning Repository, 1998, as bundled by `sklearn.datasets.load_digits`.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape, x_train.dtype
    ((1437, 28, 28), (360, 28, 28), dtype('uint8'))
    """
    from sklearn.datasets import load_digits

    small, labels = cast(
        "tuple[NDArray[np.float64], NDArray[np.int64]]", load_digits(return_X_y=True)
    )
    images = _centred(_enlarged(small.reshape(-1, 8, 8).astype(np.int64)))
    y = labels.astype(np.uint8)
    test = np.zeros(len(y), dtype=bool)
    test[np.argsort(y, kind="stable")[::5]] = True
    return (images[~test], y[~test]), (images[test], y[test])


def _enlarged(small: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 8, 8) with values 0..16 to (N, 20, 20) with values 0..255, by bilinear interpolation.

    Pixel centres map as 0.4 i - 0.3, whole tenths; so `tenths @ image @ tenths.T` is exact and
    100 times too large, and one rounding at the end brings 0..1600 to 0..255.
    """
    tenths = np.zeros((20, 8), dtype=np.int64)
    for i in range(20):
        left, weight = divmod(4 * i - 3, 10)
        # Beyond the outermost pixel centres the edge pixel is continued.
        tenths[i, max(left, 0)] += 10 - weight
        tenths[i, min(left + 1, 7)] += weight
    return (tenths @ small @ tenths.T * 255 + 800) // 1600


def _centred(images: NDArray[np.int64]) -> Bytes:
    """(N, 20, 20) into (N, 28, 28) uint8, the centre of mass at (14, 14), in whole pixels.

    MNIST's own centres of mass are at 14.0 in the mean, 0.29 about it. The box always stays inside,
    so no ink is lost.
    """
    field = np.zeros((len(images), 28, 28), dtype=np.uint8)
    mass = images.sum(axis=(1, 2))
    index = np.arange(20)
    offsets = []
    for other_axis in (2, 1):
        moment = images.sum(axis=other_axis) @ index
        offsets.append(np.clip((28 * mass - 2 * moment + mass) // (2 * mass), 0, 8))
    for image, top, left, target in zip(images, *offsets, field, strict=True):
        target[top : top + 20, left : left + 20] = image
    return field

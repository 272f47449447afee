"""Fashion-MNIST: 70,000 pictures of clothes in MNIST's shape, in the four files it comes in.

Keras's cache is asked, then ours, then the network; a file whose hash is another's is passed over.
Source: Xiao, Rasul & Vollgraf 2017; Keras, datasets/fashion_mnist.py.
"""

from __future__ import annotations

import hashlib
import os
import warnings

from scratchnet.datasets.fetch import RemoteFile, fetch
from scratchnet.datasets.formats import Data, read_idx
from scratchnet.datasets.mnist import TIMEOUT, check_allowed, keras_cache, our_cache
from scratchnet.untrusted import printable

FOLDER = "fashion-mnist"
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
"""Of each file as it is published."""
_MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)


def load_data(*, download: bool = True) -> Data:
    """Fashion-MNIST as `(x_train, y_train), (x_test, y_test)`, uint8, in MNIST's shapes.

    Raises `DatasetUnavailableError` where there is none and none can be downloaded;
    `SCRATCHNET_OFFLINE=1`, like `download=False`, forbids the network.

    >>> load_data.__kwdefaults__
    {'download': True}
    """
    ours = os.path.join(our_cache(), FOLDER)
    for folder in (os.path.join(keras_cache(), FOLDER), ours):
        wrong = _wrong_files(folder)
        if not wrong:
            return read_idx(folder)
        if len(wrong) < len(MD5) or os.path.isdir(folder):
            names = printable(", ".join(wrong))
            warnings.warn(f"passed over: {printable(folder)}: not sound: {names}", stacklevel=2)
    check_allowed("Fashion-MNIST", ours, download, "Allow the download")
    files = tuple(
        RemoteFile(name, tuple(mirror + name for mirror in _MIRRORS), f"md5:{digest}")
        for name, digest in MD5.items()
    )
    fetch((files,), ours, TIMEOUT)
    return read_idx(ours)


def _wrong_files(folder: str) -> list[str]:
    """The files that are not there as they were published."""
    wrong = []
    for name, digest in MD5.items():
        try:
            with open(os.path.join(folder, name), "rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
        except OSError:
            found = ""
        if found != digest:
            wrong.append(name)
    return wrong

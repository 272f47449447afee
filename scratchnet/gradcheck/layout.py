"""Where each coordinate of a flat vector lives in the caller's arrays, dicts, lists and tuples.

Gradients are checked on one float64 vector; this room takes a structure apart and puts it together.
Read `oracles.py` next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__tracebackhide__ = True  # pytest shows the line that called us, and the message

Tree = Any  # an array, or a dict, list or tuple of trees
Vector = NDArray[np.float64]
Index = NDArray[np.intp]

UNIT64 = 2.0**-53


def leaves(tree: Tree, path: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(tree, Mapping):
        for key, child in tree.items():
            yield from leaves(child, f"{path}[{key!r}]")
    elif isinstance(tree, list | tuple):
        for place, child in enumerate(tree):
            yield from leaves(child, f"{path}[{place}]")
    else:
        yield path, np.asarray(tree)


def rebuild(tree: Tree, leaves: Iterator[NDArray[Any]]) -> Tree:
    if isinstance(tree, Mapping):
        return {key: rebuild(child, leaves) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        children = [rebuild(child, leaves) for child in tree]
        if isinstance(tree, list):
            return children
        return type(tree)(*children) if hasattr(tree, "_fields") else tuple(children)
    return next(leaves)


class TreeLayout:
    """Where each coordinate of a flat vector lives in the caller's structure."""

    def __init__(self, tree: Tree) -> None:
        named = dict(leaves(tree))
        self.like = tree
        self.shapes = {path: leaf.shape for path, leaf in named.items()}
        self.dtypes = [leaf.dtype for leaf in named.values()]
        self.starts = np.cumsum([0, *(leaf.size for leaf in named.values())])
        if not self.starts[-1]:
            raise ValueError("there are no parameters; expected at least one number")
        self.unit = UNIT64
        self.flat = self.flatten(tree, "params")

    def flatten(self, tree: Tree, what: str) -> Vector:
        """A float64 copy; ``unit`` becomes the unit roundoff of the coarsest dtype seen so far."""
        named = dict(leaves(tree))
        if named.keys() != self.shapes.keys():
            odd = ", ".join(sorted(named.keys() ^ self.shapes.keys()))
            raise ValueError(f"{what} and params differ in {odd}; give both the same structure")
        for path, shape in self.shapes.items():
            leaf = named[path]
            if leaf.dtype.kind != "f" or leaf.dtype.itemsize > 8:
                kinds = "float16, float32 or float64: convert it with .astype"
                raise TypeError(f"{what}{path} is {leaf.dtype}; expected {kinds}")
            if leaf.shape != shape:
                hint = "transposed, or a sum over the batch missing?"
                raise ValueError(f"{what}{path} has shape {leaf.shape}; expected {shape}: {hint}")
            self.unit = max(self.unit, float(np.finfo(leaf.dtype).eps) / 2)
        return np.concatenate([named[path].ravel() for path in self.shapes]).astype(np.float64)

    def unflatten(self, flat: NDArray[Any], own_dtypes: bool = False) -> Tree:
        """Views of ``flat`` in the caller's structure, or copies in the caller's dtypes."""
        spans = [flat[a:b] for a, b in pairwise(self.starts)]
        leaves = list(map(np.reshape, spans, self.shapes.values()))
        if own_dtypes:
            leaves = [leaf.astype(dtype) for leaf, dtype in zip(leaves, self.dtypes, strict=True)]
        return rebuild(self.like, iter(leaves))

    def name(self, index: Index) -> str:
        if index.size > 1:
            return f"{self.name(index[:1])} .. {self.name(index[-1:])} (projection)"
        which = int(np.searchsorted(self.starts, index[0], "right")) - 1
        path, shape = list(self.shapes.items())[which]
        place = map(str, np.unravel_index(index[0] - self.starts[which], shape)) if shape else ()
        return f"{path}[{', '.join(place)}]" if shape else path or "params"

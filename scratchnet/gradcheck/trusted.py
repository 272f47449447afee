"""Right values that two methods vouch for: the complex step where central differences bear it out.

A complex step alone loses whatever goes through abs, norm, var, real or a cast, without a word.
Here each value is held against central differences; where they contradict it, they stand instead,
with the error that they estimate themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scratchnet.gradcheck.layout import Index, Tree, Vector
from scratchnet.gradcheck.oracles import Function, ScalarFunction, UnfitError, guarded

EACH = 64  # up to so many entries are confirmed one by one, more along random directions


class TrustedGradient(NamedTuple):
    """Values and their errors in the structure of ``params``; NaN where nothing was asked.

    ``error`` is 0 where the complex step was confirmed, what central differences are off by where
    they stand alone, and infinite on a kink. ``method`` says which of the two it was.

    >>> trusted_gradient(lambda x: np.sum(x**2), np.array([1.0, 2.0])).value.tolist()
    [2.0, 4.0]
    """

    value: Tree
    error: Tree
    method: str


def trusted_gradient(f: Function, params: Tree, where: Index | None = None) -> TrustedGradient:
    """df/dparams, or the entries ``where`` of it, flat and in order, by two methods.

    ``f`` and ``params`` as in ``check_gradients``. The complex step is confirmed along three random
    directions, and entry by entry where 64 or fewer are asked for.

    >>> found = trusted_gradient(lambda x: np.linalg.norm(x), np.array([3.0, 4.0]))
    >>> found.value.round(9).tolist(), found.method
    ([0.6, 0.8], 'central differences')
    >>> trusted_gradient(lambda x: np.sqrt(np.sum(x * x)), np.array([3.0, 4.0])).method
    'complex step, confirmed by central differences'
    """
    with guarded():
        loss = ScalarFunction(f, params)
        asked = loss.everything if where is None else np.asarray(where)
        value, error = np.full(loss.x.size, np.nan), np.full(loss.x.size, np.nan)
        try:
            loss.require_complex()
            method = _confirmed(loss, asked, value, error)
        except UnfitError:
            method = "central differences"
            for i in asked:
                slope = loss.central(loss.x, loss.everything[i : i + 1], np.ones(1))
                value[i], error[i] = slope.value, np.inf if slope.kink else slope.error
        return TrustedGradient(loss.layout.unflatten(value), loss.layout.unflatten(error), method)


def _confirmed(loss: ScalarFunction, asked: Index, value: Vector, error: Vector) -> str:
    """The complex step of every entry asked for; an UnfitError where one is contradicted."""
    for i in asked:
        index = loss.everything[i : i + 1]
        value[i] = loss.complex(loss.x, index, np.ones(1))[1]
        error[i] = 0.0
        if asked.size <= EACH:
            central = loss.confirm(float(value[i]), index, np.ones(1), np.inf)
            error[i] = np.inf if central.kink else 0.0
    return "complex step, confirmed by central differences"

"""Bugs of layers, losses and optimizers that no model of this package has: named, not planted.

`museum.py` holds the bugs that can be planted into a model here; these stand beside them: what was
seen in normalisation, convolution, recurrence and the rest. A source is an issue or pull request,
or "common slip" where none is known. `known/` computes what each of them gives.
"""

from __future__ import annotations

from typing import NamedTuple


class Slip(NamedTuple):
    """What is wrong, and where it was seen.

    >>> SLIPS["variance constant"].source
    'abhiskk/ladder#2'
    """

    wrong: str
    source: str


COMMON = "common slip"

SLIPS: dict[str, Slip] = {
    # --- activations
    "elu precedence": Slip(
        "below 0 the slope is alpha exp(z) - 1 where alpha exp(z) belongs: alpha (exp(z) - 1) lost "
        "its brackets",
        "common slip; in a forward: apache/singa#480",
    ),
    "elu' of Z": Slip(
        "f(z) + alpha is fed z: the slope below 0 is z + alpha", "mlpack/mlpack#1540"
    ),
    "gelu constant": Slip(
        "the derivative uses other constants than 0.044715 and sqrt(2 / pi)", COMMON
    ),
    "gelu without its product": Slip("x phi(x) is left out of (x Phi(x))' = Phi + x phi", COMMON),
    "softplus' of the output": Slip("the sigmoid is taken of f(z) where it belongs of z", COMMON),
    "swish without its product": Slip("(x s(x))' = s + x s (1 - s) stops after s", COMMON),
    "softsign without the square": Slip("1 / (1 + |z|) where 1 / (1 + |z|)^2 belongs", COMMON),
    "upper mask forgotten": Slip(
        "the gradient passes above the upper bound, where f is flat", COMMON
    ),
    "lower mask forgotten": Slip(
        "the gradient passes below the lower bound, where f is flat", COMMON
    ),
    "masks forgotten": Slip("the gradient passes where f is flat, at both ends", COMMON),
    "alpha forgotten": Slip("the slope below 0 is exp(z) where alpha exp(z) belongs", COMMON),
    "slope forgotten below 0": Slip("the slope below 0 is taken as 0", COMMON),
    "factor forgotten": Slip("the activation's outer factor is left out of its slope", COMMON),
    "slope forgotten": Slip("dZ = dA: the derivative of the activation is left out", COMMON),
    # --- normalisation
    "variance constant": Slip(
        "the variance is taken as a constant: what x does through it is left out of dX",
        "abhiskk/ladder#2",
    ),
    "mean constant": Slip("the mean is taken as a constant in dX", COMMON),
    "statistics constant": Slip(
        "mean and variance are taken as constants: dX is only gamma dY / std", "mlpack/mlpack#1327"
    ),
    "norm constant": Slip("the norm is taken as a constant: dX is only dY / norm", COMMON),
    "scale left out": Slip("gamma is left out of dX", COMMON),
    "gamma of raw x": Slip("dgamma sums dY x where dY (x - mean) / std belongs", COMMON),
    # --- dropout, embedding, convolution, pooling
    "mask forgotten": Slip(
        "dropped entries get a gradient: backward does not use the mask", COMMON
    ),
    "keep rate forgotten": Slip("the 1 / keep of forward is left out of backward", COMMON),
    "repeated rows overwritten": Slip(
        "dW[i] = dY, or dW[i] += dY with repeated i: one of the repeats counts; np.add.at adds",
        "tenstorrent/tt-metal#6232",
    ),
    "kernel not turned": Slip(
        "dX correlates dY with the kernel as it is; it has to be turned by 180 degrees",
        "common slip; asked about, for code that had it right, in ddbourgin/numpy-ml#27",
    ),
    "windows overwrite": Slip(
        "dX[window] = where dX[window] += belongs: overlapping windows erase one another",
        "devitocodes/joey#5",
    ),
    "window size forgotten": Slip("the 1 / (k k) of average pooling is left out", COMMON),
    "every maximum counts whole": Slip("the gradient goes to all of the window's entries", COMMON),
    # --- recurrence, attention
    "recurrence left out": Slip(
        "the gradient of a state does not flow back into the state before it", "qixianbiao/RNN#2"
    ),
    "recurrence of the cell left out": Slip(
        "the gradient of a cell state does not flow through the forget gate into the one before",
        COMMON,
    ),
    "cell path left out": Slip(
        "dh does not flow into the cell state through tanh(c): dc is only what came in", COMMON
    ),
    "slope of the state forgotten": Slip("the 1 - h^2 of the state's tanh is left out", COMMON),
    "attention scale forgotten": Slip(
        "the 1 / sqrt(d) of the scores is left out of backward", COMMON
    ),
    "attention weights constant": Slip("the softmax is taken as a constant in backward", COMMON),
    # --- losses and training
    "last sample dropped": Slip("the loop over samples ends one too early", COMMON),
    "class weights forgotten": Slip("the weights of the loss are left out of its gradient", COMMON),
    "broadcast to a square": Slip(
        "(m,) - (m, 1) is (m, m): every prediction is held against every target",
        "manzilzaheer/DeepSets#1",
    ),
    "L2 a sample": Slip("the penalty's gradient is added once a sample, not once a batch", COMMON),
    "L2 forgotten": Slip("the penalty's gradient is left out", COMMON),
    "L2 subtracted": Slip("the penalty's gradient is subtracted", "chainer/chainer#261"),
    "two moments in one array": Slip(
        "m and v are the same array: m = v = zeros, each update overwrites the other", COMMON
    ),
    "betas swapped": Slip("beta_1 and beta_2 stand in each other's place", "mila-iqia/blocks#1159"),
}

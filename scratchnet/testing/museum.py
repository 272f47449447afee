"""Real bugs of backprop, optimizers and batching, each a small change to plant into a model.

Every one stood in public code or in a book, or was proposed there as a correction, unless its
source says "common slip"; most of them still learn, which is why accuracy is no test.
`BUGS["name"].plant(model)` spoils a compiled model's engine, optimizer or loop, and nothing else.
The batteries recognise somebody's bug by comparing it with these. Which check catches which bug
is measured in `kill_matrix.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from scratchnet.engines import ActivationFunction, Array, Engine, LossFunction, reference
from scratchnet.engines.reference import dense_backward
from scratchnet.optimizers import Adam
from scratchnet.testing.forms import AdamForm, Form, SGDForm, install

BATCH = 32
"""The batch size that bugs of the loop assume, as the code they come from did."""


class Setting(NamedTuple):
    """A model in which a bug shows.

    >>> Setting(hidden="tanh").optimizer
    'adam'
    """

    optimizer: str = "adam"
    """`adam`, `amsgrad`, `sgd`, `momentum` or `nesterov`."""
    hidden: str = "relu"
    head: str = "sigmoid"
    loss: str = "sparse_categorical_crossentropy"


class Bug(NamedTuple):
    """A bug: what is wrong, where it was seen, and how to plant it.

    Attributes:
        source: `owner/repository#number` of the issue or pull request, or a file with its commit;
            "common slip" where none is known.
        plant: spoils a network, or anything that has `engine`, `optimizer` and `sizes`.
        part: `activation`, `dense`, `loss`, `adam`, `sgd` or `loop`: what the change replaces.
        setting: a model in which it shows.
        lockstep: whether full batches in their own order, beside Keras, can show it.
        form: the spoiled rule, for an optimizer's bug.

    >>> bug = BUGS["missing mean"]
    >>> bug.source, bug.documented, bug.part
    ('jax-ml/jax#3113', True, 'loss')
    """

    name: str
    wrong: str
    source: str
    plant: Callable[[Any], None]
    part: str
    setting: Setting
    lockstep: bool = True
    form: Form | None = None

    @property
    def documented(self) -> bool:
        """Whether a public source is known."""
        return not self.source.startswith("common slip")


BUGS: dict[str, Bug] = {}


def keep(name: str, wrong: str, source: str, plant: Callable[[Any], None], **others: Any) -> None:
    BUGS[name] = Bug(name, wrong, source, plant, **others)


def sizes(network: Any) -> Sequence[int]:
    """The size of each parameter array, in the order of theta."""
    own: Sequence[int] | None = getattr(network, "sizes", None)
    return own or [array.size for params in network.params for array in params.values()]


def swap(network: Any, **functions: Any) -> None:
    """Replace functions of the network's engine. The copy also keeps whole compiled epochs away,
    which would not ask for the replaced function."""
    network.engine = replace(network.engine, **functions)
    if hasattr(network, "objective") and "losses" in functions:
        network.objective.kernel = functions["losses"][network.objective.function]
    if hasattr(network, "objective") and "activations" in functions:
        network.objective.head = functions["activations"][network.layers[-1].activation]


# --- activations: f'(Z) -------------------------------------------------------------------------


def activation(kind: str, name: str, wrong: str, source: str, backward: Any, **others: Any) -> None:
    """A bug in the derivative of one activation: (dA, Z, A) -> dZ."""

    def plant(network: Any) -> None:
        table = dict(network.engine.activations)
        table[kind] = ActivationFunction(table[kind].forward, backward)
        swap(network, activations=table)

    setting = Setting("adam", kind)
    if kind == "softmax":
        setting = Setting("adam", "relu", "softmax", "mse")
    keep(name, wrong, source, plant, part="activation", setting=setting, **others)


activation(
    "relu",
    "relu passes everything",
    "dZ = dA: the mask asks A >= 0, which always holds",
    "iamtrask/Grokking-Deep-Learning#13",
    lambda dA, Z, A: dA.copy(),
)
activation(
    "relu",
    "relu slope 1 at 0",
    "the mask is Z >= 0: units that are exactly off learn",
    "pytorch/tutorials#269",
    lambda dA, Z, A: np.where(Z.real >= 0, dA, 0 * dA),
)
activation(
    "relu",
    "relu masks the gradient",
    "dZ = max(dA, 0): the sign of the gradient is asked instead of the sign of Z",
    "exacity/deeplearningbook-chinese#127",
    lambda dA, Z, A: np.where(dA.real > 0, dA, 0 * dA),
)
activation(
    "relu",
    "relu drops the gradient above",
    "dZ = 1 where Z > 0: the chain rule's factor dA is overwritten",
    "haifengl/smile#528",
    lambda dA, Z, A: np.where(Z.real > 0, np.ones_like(dA), 0 * dA),
)
activation(
    "sigmoid",
    "sigmoid' of Z",
    "dZ = dA Z (1 - Z): the formula for A is fed Z",
    "common slip; asked about, for code that had it right, in iamtrask/iamtrask.github.io#12",
    lambda dA, Z, A: dA * Z * (1 - Z),
)
activation(
    "sigmoid",
    "sigmoid' of the output",
    "dZ = dA s(A) (1 - s(A)): the sigmoid is taken twice",
    "davidrmiller/neural2d#40",
    lambda dA, Z, A: dA * reference.sigmoid(A) * (1 - reference.sigmoid(A)),
)
activation(
    "sigmoid",
    "sigmoid' forgotten",
    "dZ = dA: the derivative of the sigmoid is left out",
    "Bot-Academy/NeuralNetworkFromScratch#3",
    lambda dA, Z, A: dA.copy(),
)
activation(
    "tanh",
    "tanh' without the square",
    "dZ = dA (1 - A)",
    "common slip; a table that lacks the 1 instead: scutan90/DeepLearning-500-questions#544",
    lambda dA, Z, A: dA * (1 - A),
)
activation(
    "tanh",
    "tanh' of Z",
    "dZ = dA (1 - Z^2): the formula for A is fed Z",
    "apache/incubator-retired-horn#4",
    lambda dA, Z, A: dA * (1 - Z * Z),
)
activation(
    "tanh",
    "tanh' of the output",
    "dZ = dA (1 - tanh(A)^2): the tanh is taken twice",
    "davidrmiller/neural2d#40",
    lambda dA, Z, A: dA * (1 - np.tanh(A) ** 2),
)
activation(
    "tanh",
    "tanh' with a plus",
    "dZ = dA (1 + A^2): the derivative of the tangent",
    "gy910210/neural-network-from-scratch#2",
    lambda dA, Z, A: dA * (1 + A * A),
)
activation(
    "softmax",
    "softmax' diagonal only",
    "dZ = dA A (1 - A): the other outputs' share of the Jacobian is missing",
    "deeplearning4j/libnd4j#440",
    lambda dA, Z, A: dA * A * (1 - A),
)


def _overwriting(Z: Array) -> Array:
    Z[...] = reference.sigmoid(Z)
    return Z


def _plant_overwriting(network: Any) -> None:
    table = dict(network.engine.activations)
    table["sigmoid"] = ActivationFunction(_overwriting, table["sigmoid"].backward)
    swap(network, activations=table)


keep(
    "sigmoid overwrites Z",
    "the activation is computed in place, so that whoever reads Z later reads A",
    "deeplearning4j/deeplearning4j#364",
    _plant_overwriting,
    part="activation",
    setting=Setting(),
)

# --- the dense layer ----------------------------------------------------------------------------

Parts = tuple[Array, Array, Array, Array, Array | None, Array | None]


def dense(name: str, wrong: str, source: str, change: Any, **others: Any) -> None:
    """A bug in the dense layer: `change(dZ, X, W, dW, db, dX)` spoils the right results in place,
    or returns another dX."""

    def backward(
        dZ: Array, X: Array, W: Array, dW: Array, db: Array | None, need_dX: bool
    ) -> Array | None:
        before = dW.copy()
        dX = dense_backward(dZ, X, W, dW, db, need_dX)
        other = change(dZ, X, W, dW, db, dX, before)
        return dX if other is None or dX is None else other

    def plant(network: Any) -> None:
        swap(network, dense_backward=backward)

    keep(name, wrong, source, plant, part="dense", setting=Setting(), **others)


def _db(value: Callable[[Array], Any]) -> Any:
    """A change that puts `value(dZ)` where db belongs."""

    def change(dZ: Array, X: Array, W: Array, dW: Array, db: Any, *others: Any) -> None:
        if db is not None:
            db[...] = value(dZ)

    return change


def _transpose(dZ: Array, X: Array, W: Array, dW: Array, *others: Any) -> None:
    dW[...] = dW.T.reshape(dW.shape).copy()


def _accumulate(dZ: Array, X: Array, W: Array, dW: Array, db: Any, dX: Any, before: Array) -> None:
    dW += before


def _not_transposed(dZ: Array, X: Array, W: Array, *others: Any) -> Array:
    return dZ @ W.reshape(W.T.shape)


EAGER = 0.125
"""The learning rate of a layer that updates itself inside its own backward pass."""


def _updated(dZ: Array, X: Array, W: Array, dW: Array, *others: Any) -> Array:
    return dZ @ (W - EAGER * dW).T


dense(
    "dW transposed",
    "dW = dZ^T X, laid into the shape of W",
    "iamtrask/Grokking-Deep-Learning#22",
    _transpose,
)
dense(
    "W not transposed",
    "dX = dZ W, read in the shape that fits, where dZ W^T belongs",
    "common slip",
    _not_transposed,
)
dense(
    "dX after the update",
    "the weights are updated before the gradient is passed down through them",
    "VikParuchuri/zero_to_gpt#12",
    _updated,
)
dense(
    "gradients accumulate",
    "dW += X^T dZ: what an earlier call left is never cleared",
    "karpathy/micrograd#102",
    _accumulate,
)
dense(
    "bias of one sample",
    "db is taken from the first sample only: the sum over the batch is missing",
    "mlpack/mlpack#3679",
    _db(lambda dZ: dZ[0]),
)
dense(
    "mean bias",
    "db is the mean over the batch of a gradient that is divided by B already",
    "kvfrans/notes#5",
    _db(lambda dZ: np.mean(dZ, axis=0)),
)
dense(
    "one bias for all",
    "db sums over the outputs too: every bias gets the same number",
    "rasbt/stat453-deep-learning-ss21#5",
    _db(np.sum),
)
dense(
    "no bias at batch 1",
    "a batch of one sample leaves the bias alone",
    "deeplearning4j/deeplearning4j#364",
    _db(lambda dZ: np.sum(dZ, axis=0) if len(dZ) > 1 else 0 * dZ[0]),
    lockstep=False,
)

# --- the loss -----------------------------------------------------------------------------------


def loss(name: str, wrong: str, source: str, change: Any, **others: Any) -> None:
    """A bug in the gradient of the losses: `change(dF, dl, T)` of the right dF (B, K)."""

    def plant(network: Any) -> None:
        def changed(right: LossFunction) -> LossFunction:
            return LossFunction(
                right.forward, lambda dl, T, c: change(right.backward(dl, T, c), dl, T)
            )

        swap(network, losses={k: changed(right) for k, right in network.engine.losses.items()})

    keep(name, wrong, source, plant, part="loss", **({"setting": Setting()} | others))


MSE = Setting("adam", "relu", "softmax", "mse")

loss(
    "missing mean",
    "the gradient is the batch's sum, not its mean: a factor of B too large",
    "jax-ml/jax#3113",
    lambda dF, dl, T: dF * len(dF),
)
loss(
    "averaged twice",
    "divided by B in the loss and once more on the way: a factor of B too small",
    "apache/singa#65",
    lambda dF, dl, T: dF / len(dF),
)
loss(
    "sign",
    "the loss is climbed: dlogits = onehot - p",
    "dragen1860/Deep-Learning-with-TensorFlow-book#134",
    lambda dF, dl, T: -dF,
)
loss(
    "only the true class",
    "outputs whose target is 0 get no gradient",
    "deeplearning4j/nd4j#1328",
    lambda dF, dl, T: dF * (T != 0),
)
loss(
    "nominal batch size",
    "the short last batch is divided by the size of a full one",
    "SewoongLab/spectre-defense#3",
    lambda dF, dl, T: dF * (len(dF) / BATCH),
    lockstep=False,
)
loss(
    "half the square",
    "the 2 of (a - t)^2 is dropped from the gradient but not from the loss",
    "davisking/dlib#1169",
    lambda dF, dl, T: dF / 2,
    setting=MSE,
)
loss(
    "sum over outputs",
    "the loss is a mean over the K outputs, its gradient is not: a factor of K too large",
    "oysteijo/simd_neuralnet#1",
    lambda dF, dl, T: dF * dF.shape[-1],
    setting=MSE,
)


def _plant_double_softmax(network: Any) -> None:
    right = network.engine.losses["softmax_cross_entropy"]

    def forward(Z: Array, T: Array) -> Any:
        P = reference.softmax(Z)
        losses, log_p = right.forward(P, T)
        return losses, (P, log_p)

    def backward(dl: Array, T: Array, cache: Any) -> Array:
        P, log_p = cache
        return reference.softmax_backward(right.backward(dl, T, log_p), P, P)

    swap(
        network,
        losses=network.engine.losses | {"softmax_cross_entropy": LossFunction(forward, backward)},
    )


keep(
    "double softmax",
    "a loss that takes logits is handed probabilities",
    "nfmcclure/tensorflow_cookbook#86",
    _plant_double_softmax,
    part="loss",
    setting=Setting(head="softmax"),
)

# --- optimizers ---------------------------------------------------------------------------------


def optimizer(form: Form, name: str, wrong: str, source: str, setting: Setting) -> None:
    """A bug in an optimizer, as a form with a piece replaced."""

    def plant(network: Any) -> None:
        if isinstance(network.optimizer, Adam) == isinstance(form, AdamForm):
            swap(network)
            install(form, network.optimizer, sizes(network))

    part = "adam" if isinstance(form, AdamForm) else "sgd"
    keep(name, wrong, source, plant, part=part, setting=setting, form=form)


def adam(name: str, wrong: str, source: str, kind: str = "adam", **pieces: Any) -> None:
    optimizer(AdamForm(**pieces), name, wrong, source, Setting(kind))


def sgd(name: str, wrong: str, source: str, kind: str = "momentum", **pieces: Any) -> None:
    optimizer(SGDForm(**pieces), name, wrong, source, Setting(kind))


STEPS_AN_EPOCH = 3
"""For the clock that only moves with the epoch."""

adam(
    "epsilon inside the root",
    "sqrt(v + eps) where sqrt(v) + eps belongs",
    "FluxML/Flux.jl#448",
    denominator=lambda v, epsilon: np.sqrt(v + epsilon),
)
adam(
    "no bias correction",
    "m and v are used as they are, although both began at 0",
    "oxiglade/mlx-rs#301",
    corrections=lambda t, b1, b2: (1.0, 1.0),
)
adam(
    "constant bias correction",
    "divided by 1 - beta, no power of t",
    "eriklindernoren/ML-From-Scratch#35",
    corrections=lambda t, b1, b2: (1 - b1, 1 - b2),
)
adam(
    "bias correction multiplied",
    "m and v are multiplied by 1 - beta^t instead of divided",
    "karpathy/convnetjs#70",
    corrections=lambda t, b1, b2: (1 / (1 - b1**t), 1 / (1 - b2**t)),
)
adam(
    "one minus too many",
    "1 - (1 - beta_2^t) where 1 - beta_2^t belongs",
    "kozistr/AdaBound-tensorflow#3",
    corrections=lambda t, b1, b2: (1 - b1**t, b2**t),
)
adam(
    "corrected moments kept",
    "the corrected m and v are stored back, so that the correction piles up",
    "frgfm/holocron#1",
    store=lambda m, v, c1, c2: (m / c1, v / c2),
)
adam(
    "moments forgotten",
    "the new m and v are never stored: every step starts from 0",
    "raskr/rust-autograd#16",
    store=lambda m, v, c1, c2: (0 * m, 0 * v),
)
adam(
    "moments begin at the gradient",
    "the first step takes m = g and v = g^2 whole, and corrects them all the same",
    "zc911/MatrixSlow#28",
    first=lambda m, g, t, b1: g if t == 1 else m + (g - m) * (1 - b1),
    second=lambda v, g, m, t, b2: g * g if t == 1 else v + (g * g - v) * (1 - b2),
)
adam(
    "beta_1 decays",
    "m is averaged with beta_1^t where beta_1 belongs",
    "mila-iqia/blocks#1144",
    first=lambda m, g, t, b1: m + (g - m) * (1 - b1**t),
)
adam(
    "second moment of m",
    "v averages m^2 where it should average g^2",
    "common slip",
    second=lambda v, g, m, t, b2: v + (m * m - v) * (1 - b2),
)
adam(
    "t per parameter",
    "the step counter moves once for each array",
    "DiffSharp/DiffSharp#292",
    clock=lambda t, array, arrays: (t - 1) * arrays + array + 1,
)
adam(
    "t per epoch",
    "the step counter moves once an epoch",
    "root-project/root#5042",
    clock=lambda t, array, arrays: 1 + (t - 1) // STEPS_AN_EPOCH,
)
adam(
    "t one ahead",
    "the counter begins at 1 and is raised before the first step",
    "cs231n/cs231n.github.io#179",
    clock=lambda t, array, arrays: t + 1,
)
adam(
    "amsgrad of corrected moments",
    "the largest v / (1 - beta_2^t) is kept where the largest v belongs",
    "google-deepmind/optax#1389",
    kind="amsgrad",
    peak=lambda v_hat, v, c2: (np.maximum(v_hat, v / c2), 1.0),
)
adam(
    "uphill",
    "theta += step: the gradient is climbed",
    "pytorch/pytorch#1871",
    direction=1.0,
)
sgd(
    "uphill in SGD",
    "theta += lr g: the gradient is climbed",
    "pytorch/pytorch#1871",
    kind="sgd",
    direction=1.0,
)
sgd(
    "momentum scaled twice",
    "u = mu u - (1 - mu) lr g: a moving average, which makes steps 1 - mu as large",
    "ml-explore/mlx#87",
    velocity=lambda u, g, rate, mu: mu * u - (1 - mu) * rate * g,
)
sgd(
    "momentum damped twice",
    "1 - mu scales the gradient and then the step again",
    "mdenil/dropout#4",
    velocity=lambda u, g, rate, mu: mu * u - (1 - mu) ** 2 * rate * g,
)
sgd(
    "velocity of the last step",
    "theta moves by the velocity from before this gradient",
    "mdenil/dropout#4",
    move=lambda new, old, g, rate, mu, nesterov: old,
)
sgd(
    "momentum on the gradient",
    "u = u - mu lr g: the factor stands at the wrong term and u never decays",
    "ooples/AiDotNet#2008",
    velocity=lambda u, g, rate, mu: u - mu * rate * g,
)
sgd(
    "nesterov backwards",
    "theta -= lr g + mu u: the look ahead has the wrong sign",
    "PaddlePaddle/Paddle#12231",
    kind="nesterov",
    move=lambda new, old, g, rate, mu, nesterov: -mu * new - rate * g,
)

# --- the loop over batches ----------------------------------------------------------------------


class SpoiledOrder:
    """A Generator whose `permutation` is not one; everything else is the generator's own."""

    def __init__(self, rng: np.random.Generator, spoil: Callable[..., Array]):
        self._rng, self._spoil = rng, spoil

    def permutation(self, n: int) -> Array:
        return self._spoil(self._rng, n)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rng, name)


def starts_only(rng: np.random.Generator, n: int, size: int = BATCH) -> Array:
    """Batches in random order, their members always the same."""
    starts = rng.permutation(range(0, n - n % size or n, size))
    full = [np.arange(start, min(start + size, n)) for start in starts]
    return np.concatenate([*full, np.arange(n - n % size, n)] if n >= size else full)


def swapped_rows(rng: np.random.Generator, n: int, size: int = BATCH) -> Array:
    """Fisher and Yates's shuffle with the swap that rows of a NumPy matrix do to each other: both
    sides are views, so that one row is copied over the other."""
    order = np.arange(n)
    for i in range(n - 1, 0, -1):
        order[i] = order[rng.integers(0, i + 1)]
    return order


def order(name: str, wrong: str, source: str, spoil: Callable[..., Array]) -> None:
    """A bug in the order in which rows are visited."""

    def plant(network: Any) -> None:
        network.rng = SpoiledOrder(network.rng, spoil)

    keep(name, wrong, source, plant, part="loop", setting=Setting(), lockstep=False)


order(
    "only batch starts shuffled",
    "batches come in random order, their members never change",
    "joelgrus/joelnet, data.py, BatchIterator (7c4c368)",
    starts_only,
)
order(
    "rows repeated",
    "random.shuffle swaps rows through views: some samples come twice, others never",
    "mnielsen/neural-networks-and-deep-learning#73",
    swapped_rows,
)


def _plant_step(step: Callable[[Any, Any, Any], Any]) -> Callable[[Any], None]:
    """Plant `step(network, batch, right step)` where the loop takes its steps."""

    def plant(network: Any) -> None:
        right: Callable[[Any], Any] = type(network).train_step.__get__(network)
        network.train_step = lambda batch: step(network, batch, right)

    return plant


def _apart(network: Any, batch: Any, right: Any) -> Any:
    return right(batch._replace(y=batch.y[np.random.default_rng(0).permutation(len(batch.y))]))


def _dropped(network: Any, batch: Any, right: Any) -> Any:
    if len(batch.x) == BATCH:
        return right(batch)
    head = network.run(batch.x)[-1]
    return network.objective.value(head.Z, head.A, batch.y, batch.weights), head.A


keep(
    "labels shuffled apart",
    "x and y are shuffled separately: most samples learn another's label",
    "mlcommons/GaNDLF#870",
    _plant_step(_apart),
    part="loop",
    setting=Setting(),
)
keep(
    "last batch dropped",
    "the number of batches is rounded down: the samples at the end are never learned",
    "cleverhans-lab/cleverhans#20",
    _plant_step(_dropped),
    part="loop",
    setting=Setting(),
    lockstep=False,
)


class Bench:
    """What a bug can be planted into without a model: an engine, and an optimizer if it needs one.

    >>> bench = Bench(); BUGS["relu slope 1 at 0"].plant(bench)
    >>> backward = bench.engine.activations["relu"].backward
    >>> backward(np.array([5.0]), np.array([0.0]), np.array([0.0])).tolist()
    [5.0]
    """

    def __init__(self, optimizer: Any = None, sizes: Sequence[int] = ()):
        self.engine: Engine = reference.ENGINE
        self.optimizer, self.sizes = optimizer, sizes


def planted(name: str) -> Engine:
    """The reference engine with that bug in it.

    >>> dW, db, ones = np.zeros((1, 1)), np.zeros(1), np.ones((2, 1))
    >>> _ = planted("mean bias").dense_backward(ones, ones, np.ones((1, 1)), dW, db, True)
    >>> db.tolist()  # the right one is 2
    [1.0]
    """
    bench = Bench()
    BUGS[name].plant(bench)
    return bench.engine


def of_part(*parts: str) -> list[Bug]:
    """The museum's bugs of these parts, in order.

    >>> [bug.name for bug in of_part("loop")][:2]
    ['only batch starts shuffled', 'rows repeated']
    """
    return [bug for bug in BUGS.values() if bug.part in parts]

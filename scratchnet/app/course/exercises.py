"""The table of exercises: signature, shapes and equation, advice, hints, numbers to mark on.

One record an exercise, in the order in which one learns. The right answer is the reference engine's
own function, or stands in `stack.py`. Read `marking.py` next.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from scratchnet.app.course import stack
from scratchnet.engines import Engine, reference

Arguments = tuple[Any, ...]


class Exercise(NamedTuple):
    """One function to write.

    Attributes:
        signature: its parameters, as in `def name(signature):`.
        returns: a name for each returned value; () where all is written in place.
        writes: the parameters that are updated in place.
        part: the function in an engine, for the museum's bugs; None where no engine has it.
        hints: three, the last one just before the solution.
    """

    name: str
    signature: str
    returns: tuple[str, ...]
    writes: tuple[str, ...]
    equation: str
    law: str
    think: str
    mistake: str
    hints: tuple[str, str, str]
    right: Callable[..., Any]
    cases: Callable[[], list[Arguments]]
    part: Callable[[Engine], Any] | None = None
    extra: bool = False

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters."""
        return [name.partition("=")[0].strip() for name in self.signature.split(",")]


def whole(*shape: int, seed: int = 0) -> Any:
    """Small integers, as floats, in an array of this shape; none of them is 0."""
    drawn = np.random.default_rng([seed, *shape]).integers(1, 5, shape)
    signs = np.random.default_rng([seed + 1, *shape]).choice([-1, 1], shape)
    return (drawn * signs).astype(float)


SIZES = ((1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 2, 3), (3, 3, 2), (32, 3, 2), (4, 3, 3))
"""(B, I, O) or (B, K, .), the smallest first: the first that fails is shown."""


def _dense() -> list[Arguments]:
    cases: list[Arguments] = [(whole(b, i), whole(i, o), whole(o)) for b, i, o in SIZES]
    halves = (whole(3, 2) / 2, whole(2, 2) / 2, whole(2) / 8)
    return [*cases, (whole(2, 2), whole(2, 3), None), halves]


def _dense_backward() -> list[Arguments]:
    # dW and db arrive full of ones: what they held must not matter.
    cases: list[Arguments] = [
        (whole(b, o, seed=3), whole(b, i), whole(i, o), np.ones((i, o)), np.ones(o), True)
        for b, i, o in SIZES
    ]
    bare = (whole(2, 3, seed=3), whole(2, 2), whole(2, 3), np.ones((2, 3)), None, False)
    halves = (whole(2, 2, seed=3) / 2, whole(2, 2) / 2, whole(2, 2) / 2, bare[3][:, :2], None, True)
    return [*cases, bare, halves]


POINTS = (np.array([[2.0]]), np.array([[-1.0]]), np.array([[0.0]]), np.array([[-2.0, 0.0, 3.0]]))
SMALL = np.array([[0.5, -0.5, 2.0**-10, -(2.0**-10)]])
"""Where a threshold that is not at 0 shows."""


def _forward_cases() -> list[Arguments]:
    return [(Z,) for Z in (*POINTS, whole(3, 4), SMALL, np.array([[-1000.0, 1000.0]]))]


def _backward_cases(forward: Callable[[Any], Any]) -> Callable[[], list[Arguments]]:
    def cases() -> list[Arguments]:
        points = (*POINTS, whole(3, 4), SMALL, np.array([[0.0, 1.0, -2.0]]))
        return [
            (sign * whole(*Z.shape, seed=5), Z, forward(Z)) for Z in points for sign in (1.0, -1.0)
        ]

    return cases


def onehot(samples: int, classes: int) -> Any:
    """Targets (B, K), the classes in turn."""
    return np.eye(classes)[np.arange(samples) % classes]


def _logits() -> list[Any]:
    drawn = [whole(b, k) for b, k in ((1, 2), (2, 2), (2, 3), (4, 3), (32, 3), (5, 4))]
    return [np.zeros((1, 2)), *drawn, np.array([[1000.0, 0.0], [-1000.0, 0.0]])]


def _cross_entropy() -> list[Arguments]:
    return [(Z, onehot(*Z.shape)) for Z in _logits()]


def _cross_entropy_backward() -> list[Arguments]:
    found: list[Arguments] = []
    for Z in _logits():
        T = onehot(*Z.shape)
        _, log_p = reference.softmax_cross_entropy(Z, T)
        found += [(np.full(len(Z), 1.0 / len(Z)), T, log_p), (np.arange(1.0, len(Z) + 1), T, log_p)]
    return found


def _sgd(momentum: bool) -> Callable[[], list[Arguments]]:
    def cases() -> list[Arguments]:
        rules = ((0.5, False), (0.5, True), (0.25, True)) if momentum else ((0.0, False),)
        return [
            (whole(n), whole(n, seed=2), whole(n, seed=4) if momentum else None, rate, mu, nesterov)
            for n in (1, 2, 5)
            for rate in (0.5, 2.0)
            for mu, nesterov in rules
        ]

    return cases


def _step_size() -> list[Arguments]:
    return [(1.0, t, b1, b2) for t in (1, 2, 3, 50) for b1, b2 in ((0.5, 0.75), (0.9, 0.999))]


def _adam(amsgrad: bool) -> Callable[[], list[Arguments]]:
    def cases() -> list[Arguments]:
        return [
            (
                *(whole(n), whole(n, seed=2), whole(n, seed=4), whole(n, seed=6) ** 2),
                *(whole(n, seed=8) ** 2 if amsgrad else None, 0.5, b1, b2, epsilon),
            )
            for n in (1, 2, 5)
            for b1, b2, epsilon in ((0.5, 0.25, 1.0), (0.25, 0.5, 2.0))
        ]

    return cases


def _layers(sizes: tuple[int, ...]) -> list[tuple[Any, Any]]:
    pairs = enumerate(pairwise(sizes))
    return [(whole(i, o, seed=10 * k), whole(o, seed=10 * k + 5)) for k, (i, o) in pairs]


NETS = ((1, (1, 2)), (2, (2, 2)), (2, (2, 3, 2)), (3, (3, 4, 3, 2)))


def _stack_forward() -> list[Arguments]:
    return [(whole(b, sizes[0], seed=7), _layers(sizes)) for b, sizes in NETS]


def _stack_backward() -> list[Arguments]:
    return [
        (whole(len(X), len(layers[-1][1]), seed=9), stack.forward(X, layers)[1], layers)
        for X, layers in _stack_forward()
    ]


def _train_step() -> list[Arguments]:
    return [
        (X, onehot(len(X), len(layers[-1][1])), [(W / 4, b / 4) for W, b in layers], 0.5)
        for X, layers in _stack_forward()
    ]


def _head() -> list[Arguments]:
    return [(Z, onehot(*Z.shape)) for Z in _logits()]


def _dropout() -> list[Arguments]:
    masks = [np.array([[1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones((2, 3))]
    return [(whole(*mask.shape), mask, rate) for mask in masks for rate in (0.5, 0.75, 0.0)]


IN_ORDER = (
    Exercise(
        "dense",
        "X, W, b",
        ("Z",),
        (),
        "Z = X W + b, that is Z_bo = sum_i X_bi W_io + b_o.  X (B, I), W (I, O), b (O,) or None",
        "every output is the weighted sum of all inputs, plus its bias",
        "Which axis of X meets which axis of W? What has to happen where b is None?",
        "Writing W.T because a textbook has W as (O, I). Here a column of W belongs to an output.",
        (
            "Write the shapes under one another: (B, I) times (I, O) gives (B, O).",
            "NumPy's @ is that product, and adding b (O,) adds it to every row.",
            "Z = X @ W, then add b unless it is None, and return Z.",
        ),
        reference.dense,
        _dense,
        lambda engine: engine.dense,
    ),
    Exercise(
        "dense_backward",
        "dZ, X, W, dW, db, need_dX",
        ("dX",),
        ("dW", "db"),
        "dW = X^T dZ, db_o = sum_b dZ_bo (both written in place), dX = dZ W^T (returned).\n"
        "    dZ (B, O), X (B, I), W (I, O); db may be None; return None where need_dX is False",
        "a weight's gradient is the sum over all samples that used it",
        "Each gradient has the shape of its array. Which product of the others has that shape?",
        "Averaging over the batch a second time: dZ carries the 1 / B of the mean loss already.",
        (
            "dW is (I, O), made from X (B, I) and dZ (B, O): the sum must run over B.",
            "X.T @ dZ sums over B. Writing in place is dW[...] = value; dW = value only renames.",
            "dW[...] = X.T @ dZ; db[...] = dZ.sum(axis=0) if there is a db; return dZ @ W.T.",
        ),
        reference.dense_backward,
        _dense_backward,
        lambda engine: engine.dense_backward,
    ),
    Exercise(
        "relu",
        "Z",
        ("A",),
        (),
        "A = max(Z, 0), entry by entry.  Z (B, O) -> A (B, O)",
        "negative entries become 0, positive ones stay as they are",
        "Z is needed again on the way back: may you write to it?",
        "Changing Z itself: Z[Z < 0] = 0 spoils what the backward pass will read.",
        (
            "Compare every entry with 0 and keep the larger.",
            "np.maximum compares entry by entry; np.max finds one largest number.",
            "return np.maximum(Z, 0)",
        ),
        reference.relu,
        _forward_cases,
        lambda engine: engine.activations["relu"].forward,
    ),
    Exercise(
        "relu_backward",
        "dA, Z, A",
        ("dZ",),
        (),
        "dZ = dA where Z > 0, else 0; at Z = 0 itself 0.  All (B, O)",
        "the gradient passes where the unit was on, and nowhere else",
        "Whose sign decides, that of Z or that of dA? What happens at exactly 0?",
        "Asking A >= 0, which always holds, or Z >= 0, which lets units learn that are just off.",
        (
            "The slope of relu is 1 to the right of 0 and 0 to the left.",
            "The chain rule multiplies that slope by what arrives: dA.",
            "return dA * (Z > 0)",
        ),
        reference.relu_backward,
        _backward_cases(reference.relu),
        lambda engine: engine.activations["relu"].backward,
    ),
    Exercise(
        "softmax_cross_entropy",
        "Z, T",
        ("losses", "log_p"),
        (),
        "log_p = log softmax(Z) (B, K), losses_b = -sum_k T_bk log_p_bk (B,).  Z, T (B, K)",
        "the loss of a sample is minus the log of the probability of its true class",
        "exp(1000) is infinite. What may you subtract from a row without changing its softmax?",
        "Taking the softmax first and its log afterwards: log(0) is -inf where Z is far apart.",
        (
            "softmax(Z) = softmax(Z - c) for any c: with c the row's largest entry, exp is <= 1.",
            "log softmax(Z) = (Z - c) - log(sum(exp(Z - c))): the exponential and the log cancel.",
            "S = Z - Z.max(axis=1, keepdims=True), "
            "log_p = S - np.log(np.exp(S).sum(axis=1, keepdims=True)).",
        ),
        reference.softmax_cross_entropy,
        _cross_entropy,
        lambda engine: engine.losses["softmax_cross_entropy"].forward,
    ),
    Exercise(
        "softmax_cross_entropy_backward",
        "dl, T, log_p",
        ("dZ",),
        (),
        "dZ_bk = dl_b (p_bk - T_bk) with p = exp(log_p).  dl (B,), T and log_p (B, K) -> "
        "dZ (B, K).\n"
        "    The derivatives of the softmax and of the log cancel: only p - T is left",
        "a row of dZ sums to 0: what one class gains, the others lose",
        "dl has one number a sample. Along which axis must it be spread?",
        "Dividing by B here: dl carries the 1 / B of the mean already.",
        (
            "Differentiate log_p_k by Z_j: [k = j] - p_j. Then sum against -T.",
            "As T sums to 1 in each row, what remains is p - T.",
            "return dl[:, None] * (np.exp(log_p) - T)",
        ),
        reference.softmax_cross_entropy_backward,
        _cross_entropy_backward,
        lambda engine: engine.losses["softmax_cross_entropy"].backward,
    ),
    Exercise(
        "sgd",
        "theta, grad, velocity, learning_rate, momentum, nesterov",
        (),
        ("theta", "velocity"),
        "theta = theta - learning_rate grad, in place.  All (P,); velocity is None for now",
        "a step goes against the gradient",
        "theta must change in place: which operators do that?",
        "theta = theta - ... makes a new array, and the caller's stays as it was.",
        (
            "The gradient points uphill.",
            "An augmented assignment on an array works in place.",
            "theta -= learning_rate * grad",
        ),
        reference.sgd,
        _sgd(False),
        lambda engine: engine.optimizers["sgd"],
    ),
    Exercise(
        "step_size",
        "learning_rate, t, beta_1, beta_2",
        ("alpha",),
        (),
        "alpha = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t), at step t = 1, 2, ...",
        "the averages begin at 0; the correction makes up for that, and fades with t",
        "What is alpha for a very large t? And which average is corrected under the root?",
        "Leaving out the power of t: the correction then never fades.",
        (
            "After t steps an average that began at 0 is too small by the factor 1 - beta^t.",
            "m is divided by 1 - beta_1^t; v too, by its own, but v stands under a root below.",
            "return learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)",
        ),
        stack.step_size,
        _step_size,
    ),
    Exercise(
        "adam",
        "theta, grad, m, v, v_hat, alpha, one_minus_beta_1, one_minus_beta_2, epsilon",
        (),
        ("theta", "m", "v", "v_hat"),
        "m += (1 - beta_1)(grad - m),  v += (1 - beta_2)(grad^2 - v),\n"
        "    theta -= alpha m / (sqrt(v) + epsilon), all in place, all (P,); v_hat is None for now",
        "m and v are moving averages of the gradient and of its square",
        "In which order? Does the step use the old averages or the new ones?",
        "Putting epsilon inside the root.",
        (
            "Update m and v first: the step uses the new ones.",
            "Both averages move a share of the way towards the new value.",
            "m += one_minus_beta_1 * (grad - m), the same for v with grad**2, then the step.",
        ),
        reference.adam,
        _adam(False),
        lambda engine: engine.optimizers["adam"],
    ),
    Exercise(
        "forward",
        "X, layers",
        ("Z", "tape"),
        (),
        "Through every (W, b) of layers: Z = dense(A, W, b), with A = relu(Z) between two layers.\n"
        "    X (B, I) -> Z (B, K) of the last layer, and tape, a list of (input, Z) of each layer",
        "the last layer gives logits: no relu after it",
        "What will the backward pass need of each layer? That belongs on the tape.",
        "A relu after the last layer: logits may be negative.",
        (
            "Keep the current activations in A, which begins as X.",
            "At each layer put (A, Z) on the tape before you go on.",
            "for W, b in layers: Z = dense(A, W, b); tape.append((A, Z)); A = relu(Z). Return Z.",
        ),
        stack.forward,
        _stack_forward,
    ),
    Exercise(
        "backward",
        "dZ, tape, layers",
        ("gradients",),
        (),
        "From the last layer to the first: (dW, db) by dense_backward, then dZ of the "
        "layer below by\n"
        "    relu_backward. dZ (B, K) -> [(dW, db) of each layer], in the order of layers",
        "each layer's gradient comes from the one above it, through its own weights",
        "Which Z decides the relu on the way down, this layer's or the one below's?",
        "Returning the gradients in the order in which they were found, last layer first.",
        (
            "Walk over range(len(layers) - 1, -1, -1).",
            "dX of this layer is dA of the one below, whose Z lies on the tape.",
            "dA = dense_backward(dZ, X, W, dW, db, True); dZ = relu_backward(dA, tape[i - "
            "1][1], X).",
        ),
        stack.backward,
        _stack_backward,
    ),
    Exercise(
        "train_step",
        "X, T, layers, learning_rate",
        ("loss",),
        ("layers",),
        "One step of plain gradient descent on the mean softmax cross-entropy of the "
        "batch; W and b\n"
        "    are updated in place. Returns the loss before the step, a number",
        "one step: forward, loss, backward, update",
        "Where does the 1 / B of the mean enter the gradient?",
        "Forgetting it: then the step grows with the batch.",
        (
            "The mean's derivative by each sample's loss is 1 / B: that is dl.",
            "Compute all gradients before any weight moves.",
            "forward, softmax_cross_entropy, its backward with dl = np.full(B, 1 / B), "
            "backward, then sgd on each W and b.",
        ),
        stack.train_step,
        _train_step,
    ),
)

FOR_MORE = (
    Exercise(
        "sigmoid",
        "Z",
        ("A",),
        (),
        "A = 1 / (1 + exp(-Z)).  Z (B, O) -> A (B, O), finite at -1000 too",
        "sigmoid(-z) = 1 - sigmoid(z)",
        "exp(1000) overflows. Can the same number be had from exp(-1000)?",
        "Writing the result into Z, which others still read.",
        (
            "Multiply above and below by exp(z): exp(z) / (1 + exp(z)).",
            "Use one form for z >= 0 and the other for z < 0.",
            "e = np.exp(-abs(Z)); 1 / (1 + e) where Z >= 0, else e / (1 + e).",
        ),
        reference.sigmoid,
        _forward_cases,
        lambda engine: engine.activations["sigmoid"].forward,
        True,
    ),
    Exercise(
        "sigmoid_backward",
        "dA, Z, A",
        ("dZ",),
        (),
        "dZ = dA A (1 - A), where A = sigmoid(Z).  All (B, O)",
        "the slope is largest, 1/4, at Z = 0",
        "The formula wants A. Which of the arguments is that?",
        "Feeding Z to the formula for A, or taking the sigmoid of A once more.",
        (
            "The slope of the sigmoid can be written with its own value.",
            "sigmoid' = A (1 - A); then the chain rule.",
            "return dA * A * (1 - A)",
        ),
        reference.sigmoid_backward,
        _backward_cases(reference.sigmoid),
        lambda engine: engine.activations["sigmoid"].backward,
        True,
    ),
    Exercise(
        "sigmoid_head",
        "Z, T",
        ("A", "dZ"),
        (),
        "Keras on TensorFlow trains a sigmoid head under sparse_categorical_crossentropy "
        "on its hidden\n"
        "    logits: A = sigmoid(Z), but dZ = (softmax(Z) - T) / B.  Z, T (B, K)",
        "the loss reads the logits: the sigmoid's derivative does not appear",
        "What is shown (A) and what is trained (Z) part here. Which of them does the loss see?",
        "Multiplying dZ by A (1 - A).",
        (
            "Compute A only to return it.",
            "dZ is that of softmax cross-entropy, with the mean's 1 / B.",
            "Subtract each row's largest logit before exp, divide by the row's sum, "
            "subtract T, divide by B.",
        ),
        stack.sigmoid_head,
        _head,
        None,
        True,
    ),
    Exercise(
        "sgd_momentum",
        "theta, grad, velocity, learning_rate, momentum, nesterov",
        (),
        ("theta", "velocity"),
        "velocity = momentum velocity - learning_rate grad; then theta += velocity, or "
        "with Nesterov\n"
        "    theta += momentum velocity - learning_rate grad. In place, all (P,)",
        "the velocity is a fading sum of all steps so far",
        "Nesterov looks ahead: is it the old velocity or the new one that is multiplied?",
        "Scaling the gradient by 1 - momentum: that is another rule.",
        (
            "Update the velocity in place first.",
            "For Nesterov use the new velocity once more, times momentum.",
            "velocity *= momentum; velocity -= learning_rate * grad; then the move.",
        ),
        reference.sgd,
        _sgd(True),
        lambda engine: engine.optimizers["sgd"],
        True,
    ),
    Exercise(
        "adam_amsgrad",
        "theta, grad, m, v, v_hat, alpha, one_minus_beta_1, one_minus_beta_2, epsilon",
        (),
        ("theta", "m", "v", "v_hat"),
        "As adam, and v_hat = max(v_hat, v); the root is taken of v_hat. In place, all (P,)",
        "the denominator never shrinks",
        "Which of v and v_hat goes on as the moving average?",
        "Writing the maximum into v: the average itself then never falls.",
        (
            "Keep v as it is in adam.",
            "np.maximum(v_hat, v, out=v_hat) works in place.",
            "theta -= alpha * m / (np.sqrt(v_hat) + epsilon)",
        ),
        reference.adam,
        _adam(True),
        lambda engine: engine.optimizers["adam"],
        True,
    ),
    Exercise(
        "leaky_relu_backward",
        "dA, Z, A",
        ("dZ",),
        (),
        "dZ = dA where Z > 0, else 0.2 dA; at Z = 0 itself 0.2 dA.  All (B, O)",
        "at its kink the leaky ReLU takes the slope of its left side",
        "The kink is a choice. Which side does Keras choose?",
        "Z >= 0, which takes the slope 1 at 0.",
        (
            "Two slopes, decided by the sign of Z.",
            "np.where takes a condition and two arrays.",
            "return np.where(Z > 0, dA, 0.2 * dA)",
        ),
        reference.leaky_relu_backward,
        _backward_cases(reference.leaky_relu),
        lambda engine: engine.activations["leaky_relu"].backward,
        True,
    ),
    Exercise(
        "dropout",
        "X, mask, rate",
        ("A",),
        (),
        "A = X mask / (1 - rate).  X (B, I), mask (B, I) of 0 and 1, rate the share that "
        "is dropped",
        "in the mean over masks, A is X",
        "With half of the units off, how large must the others be for the same mean?",
        "Forgetting the 1 / (1 - rate), or dividing by rate.",
        (
            "A unit stays with probability 1 - rate.",
            "So what stays is divided by 1 - rate.",
            "return X * mask / (1 - rate)",
        ),
        stack.dropout,
        _dropout,
        None,
        True,
    ),
    Exercise(
        "softmax",
        "Z",
        ("A",),
        (),
        "A_bk = exp(Z_bk) / sum_j exp(Z_bj), finite for Z = 1000 too.  Z (B, K) -> A (B, K)",
        "softmax(Z + c) = softmax(Z)",
        "np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True) is right on paper. Try Z = 1000.",
        "Leaving it at that: inf / inf is NaN.",
        (
            "Which c makes every exponent at most 0?",
            "Subtract the largest entry of each row, not of the whole array.",
            "e = np.exp(Z - Z.max(axis=1, keepdims=True)); divide e by its sum over each row.",
        ),
        reference.softmax,
        lambda: [(Z,) for Z in (*_logits(), np.array([[1000.0, 1000.0], [-9000.0, -9000.0]]))],
        lambda engine: engine.activations["softmax"].forward,
        True,
    ),
)

EXERCISES = {exercise.name: exercise for exercise in (*IN_ORDER, *FOR_MORE)}
"""Every exercise by its name, in the order in which one learns."""

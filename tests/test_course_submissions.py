# ruff: noqa: E501 (a submission is easier to read on a line of its own)
"""What learners hand in, each written from scratch in somebody's own way: is it marked and named?

Nothing here calls the museum or the reference: names of variables, structure, loops and conventions
differ on purpose, so that a name that is given was recognised and not looked up.
"""

from __future__ import annotations

import types

import pytest

from scratchnet.app.course.exercises import EXERCISES
from scratchnet.app.course.marking import mark

BACK = "def dense_backward(dZ, X, W, dW, db, need_dX):\n"
RELU = "def relu_backward(dA, Z, A):\n"
LOSS = "def softmax_cross_entropy_backward(dl, T, log_p):\n"
SIZE = "def step_size(learning_rate, t, beta_1, beta_2):\n"
ADAM = "def adam(w, g, m, v, v_hat, alpha, a, b, eps):\n"
AMS = "def adam_amsgrad(w, g, m, v, top, alpha, a, b, eps):\n"
MOVE = "def sgd_momentum(w, g, vel, lr, mu, nesterov):\n"
CURVE = "def sigmoid_backward(dA, Z, A):\n"
HEAD = (
    "def sigmoid_head(Z, T):\n    p = np.exp(Z - Z.max(1)[:, None])\n    p /= p.sum(1)[:, None]\n"
)
HEAD += "    shown = np.where(Z < 0, np.exp(np.minimum(Z, 0)), 1) / (1 + np.exp(-abs(Z)))\n"
STEP = "def train_step(X, T, layers, lr):\n    acts, h = [X], X\n"
STEP += "    for k, (W, b) in enumerate(layers):\n        h = h @ W + b\n"
STEP += "        if k < len(layers) - 1:\n            h = h * (h > 0)\n        acts.append(h)\n"
STEP += "    e = np.exp(h - h.max(1)[:, None])\n    p = e / e.sum(1)[:, None]\n    n = len(X)\n"
STEP += "    loss = -np.mean(np.log((p * T).sum(1)))\n"
DOWN = "    for k in range(len(layers) - 1, -1, -1):\n        W, b = layers[k]\n"
DOWN += "        below = (d @ W.T) * (acts[k] > 0)\n{}        d = below\n    return loss\n"
GO = DOWN.format("        W -= lr * acts[k].T @ d\n        b -= lr * d.sum(0)\n")

PLANTED = [
    # the dense layer
    ("dW transposed", BACK + """
    outer = dZ.T @ X
    dW[:] = outer.flatten().reshape(dW.shape)
    if db is not None: db[:] = np.einsum('bo->o', dZ)
    if need_dX: return np.einsum('bo,io->bi', dZ, W)
"""),
    ("dW transposed", BACK + """
    dW[:, :] = np.dot(np.transpose(dZ), X)
    if db is not None:
        db[:] = sum(dZ)
    return dZ.dot(W.T) if need_dX else None
"""),
    ("W not transposed", BACK + """
    for i in range(X.shape[1]):
        for o in range(dZ.shape[1]):
            dW[i, o] = sum(X[n, i] * dZ[n, o] for n in range(len(X)))
    if db is not None: db[:] = dZ.sum(0)
    return np.dot(dZ, W) if need_dX else None
"""),
    ("dX after the update", BACK + """
    lr = 0.01
    dW[:] = X.T @ dZ
    if db is not None: db[:] = dZ.sum(axis=0)
    W_new = W - lr * dW
    return dZ @ W_new.T if need_dX else None
"""),
    ("dX after the update", BACK + """
    dW[...] = np.tensordot(X, dZ, axes=(0, 0))
    if db is not None:
        db[...] = np.add.reduce(dZ)
    W -= 0.3 * dW
    if need_dX:
        return np.inner(dZ, W)
"""),
    ("gradients accumulate", BACK + """
    dW += X.T.dot(dZ)
    if db is not None: db += dZ.sum(axis=0)
    return dZ.dot(W.T) if need_dX else None
"""),
    ("gradients accumulate", BACK + """
    for x, d in zip(X, dZ):
        dW += np.outer(x, d)
    if db is not None: db[:] = dZ.sum(axis=0)
    return dZ @ W.T if need_dX else None
"""),
    ("bias of one sample", BACK + """
    dW[:] = X.T @ dZ
    if db is not None:
        first, *_ = dZ
        db[:] = first
    return dZ @ W.T if need_dX else None
"""),
    ("mean bias", BACK + """
    m = X.shape[0]
    dW[:] = X.T @ dZ
    if db is not None: db[:] = np.sum(dZ, axis=0) / m
    return (W @ dZ.T).T if need_dX else None
"""),
    ("averaged twice", BACK + """
    m = X.shape[0]
    dW[:] = (1 / m) * np.dot(X.T, dZ)
    if db is not None: db[:] = (1 / m) * np.sum(dZ, axis=0)
    return np.dot(dZ, W.T) if need_dX else None
"""),
    ("one bias for all", BACK + """
    np.matmul(X.T, dZ, out=dW)
    if db is not None:
        total = 0.0
        for row in dZ:
            for entry in row: total += entry
        db.fill(total)
    return dZ @ W.T if need_dX else None
"""),
    ("no bias at batch 1", BACK + """
    dW[:] = X.T @ dZ
    if db is not None and dZ.shape[0] != 1:
        db[:] = dZ.sum(axis=0)
    return dZ @ W.T if need_dX else None
"""),
    # relu
    ("relu passes everything", RELU + "    return np.where(A >= 0, 1.0, 0.0) * dA\n"),
    ("relu slope 1 at 0", RELU + "    out = dA.copy()\n    out[Z < 0] = 0\n    return out\n"),
    ("relu masks the gradient", RELU + "    return (dA + abs(dA)) / 2\n"),
    ("relu drops the gradient above", RELU + "    d = np.zeros(Z.shape)\n    d[Z > 0] = 1\n"
     "    return d\n"),
    # the loss
    ("double softmax", """
def soft(M):
    M = M - M.max(axis=1, keepdims=True)
    return np.exp(M) / np.exp(M).sum(axis=1, keepdims=True)

def softmax_cross_entropy(logits, onehot):
    q = soft(soft(logits))
    return np.array([-np.log(r[t.argmax()]) for r, t in zip(q, onehot)]), np.log(q)
"""),
    ("missing mean", LOSS + "    return np.exp(log_p) - T\n"),
    ("missing mean", LOSS + "    n = len(T)\n    return n * dl[:, None] * (np.exp(log_p) - T)\n"),
    ("averaged twice", LOSS + "    g = np.exp(log_p) - T\n    g = g * dl.reshape(-1, 1)\n"
     "    return g / g.shape[0]\n"),
    ("sign", LOSS + "    return np.stack([w * (t - np.exp(q)) for w, t, q in zip(dl, T, log_p)])\n"),
    ("only the true class", LOSS + """
    out = np.zeros_like(log_p)
    rows, true = np.arange(len(T)), T.argmax(1)
    out[rows, true] = dl * (np.exp(log_p[rows, true]) - 1)
    return out
"""),
    ("nominal batch size", LOSS + "    return (np.exp(log_p) - T) / 32\n"),
    ("missing mean", HEAD + "    return shown, p - T\n"),
    ("sign", HEAD + "    return shown, (T - p) / Z.shape[0]\n"),
    # steps
    ("missing mean", STEP + "    d = p - T\n" + GO),
    ("averaged twice", STEP + "    d = (p - T) / n\n" + GO.replace("lr *", "lr / n *")),
    ("mean bias", STEP + "    d = (p - T) / n\n" + GO.replace("d.sum(0)", "d.mean(0)")),
    ("relu passes everything", STEP + "    d = (p - T) / n\n" + GO.replace("> 0)", "> -1)")),
    ("dX after the update", STEP + """
    d = (p - T) / n
    for k in reversed(range(len(layers))):
        W, b = layers[k]
        W -= lr * acts[k].T @ d
        b -= lr * d.sum(0)
        d = (d @ W.T) * (acts[k] > 0)
    return loss
"""),
    ("relu passes everything", """
def backward(d, tape, layers):
    found = []
    for (inputs, _), (W, b) in zip(tape[::-1], layers[::-1]):
        found.insert(0, (inputs.T @ d, d.sum(0)))
        d = d @ W.T
    return found
"""),
    ("averaged twice", """
def backward(d, tape, layers):
    found, k = [None] * len(layers), len(layers)
    while k:
        k -= 1
        inputs = tape[k][0]
        found[k] = inputs.T @ d / len(d), d.mean(axis=0)
        if k: d = (d @ layers[k][0].T) * (tape[k - 1][1] > 0)
    return found
"""),
    ("uphill in SGD", STEP + "    d = (p - T) / n\n" + GO.replace("-= lr", "+= lr")),
    ("uphill in SGD", "def sgd(w, g, u, lr, mu, nag):\n    for k in range(w.size):\n"
     "        w[k] = w[k] + lr * g[k]\n"),
    ("no bias correction", SIZE + "    return learning_rate\n"),
    ("constant bias correction", SIZE + "    first, second = 1 - beta_1, 1 - beta_2\n"
     "    return learning_rate * second ** 0.5 / first\n"),
    ("bias correction multiplied", SIZE + "    up = 1 - beta_1**t\n"
     "    return learning_rate * up / (1 - beta_2**t) ** 0.5\n"),
    ("one minus too many", SIZE + "    c2 = 1 - (1 - beta_2**t)\n"
     "    return learning_rate * np.sqrt(c2) / (1 - np.power(beta_1, t))\n"),
    ("t one ahead", SIZE + "    t += 1\n    one, two = 1.0, 1.0\n    for _ in range(t):\n"
     "        one *= beta_1; two *= beta_2\n"
     "    return learning_rate * (1 - two) ** 0.5 / (1 - one)\n"),
    ("epsilon inside the root", ADAM + "    m[:] = m * (1 - a) + g * a\n"
     "    v[:] = v * (1 - b) + g * g * b\n    w -= alpha * m * (v + eps) ** -0.5\n"),
    ("moments forgotten", ADAM + "    m = m + a * (g - m)\n    v = v + b * (g * g - v)\n"
     "    w -= alpha * m / (np.sqrt(v) + eps)\n"),
    ("second moment of m", ADAM + "    m += a * (g - m)\n    v += b * (m * m - v)\n"
     "    w -= alpha * m / (np.sqrt(v) + eps)\n"),
    ("moments begin at the gradient", ADAM + "    m[:] = g\n    v[:] = np.square(g)\n"
     "    w -= alpha * m / (eps + abs(g))\n"),
    ("uphill", ADAM + "    m += a * (g - m)\n    v += b * (g ** 2 - v)\n"
     "    w[:] = w + alpha * m / (v ** 0.5 + eps)\n"),
    ("moments forgotten", AMS + "    m = (1 - a) * m + a * g\n    v = (1 - b) * v + b * g**2\n"
     "    top[:] = np.where(top > v, top, v)\n    w -= alpha * m / (np.sqrt(top) + eps)\n"),
    ("epsilon inside the root", AMS + "    m += a * (g - m)\n    v += b * (g**2 - v)\n"
     "    np.maximum(v, top, out=top)\n    w -= alpha * m / np.sqrt(top + eps)\n"),
    ("momentum scaled twice", MOVE + "    vel *= mu\n    vel -= (1 - mu) * lr * g\n"
     "    w += mu * vel - lr * g if nesterov else vel\n"),
    ("momentum scaled twice", MOVE + "    vel[:] = mu * vel + (1 - mu) * g\n"
     "    w -= lr * (mu * vel + (1 - mu) * g if nesterov else vel)\n"),
    ("momentum damped twice", MOVE + "    vel[:] = mu * vel - (1 - mu) * lr * g\n"
     "    w += (1 - mu) * (mu * vel - lr * g if nesterov else vel)\n"),
    ("velocity of the last step", MOVE + "    if nesterov: w += mu * vel - lr * g\n"
     "    else: w += vel\n    vel[:] = mu * vel - lr * g\n"),
    ("velocity of the last step", MOVE + "    old = vel.copy()\n    vel[:] = mu * vel - lr * g\n"
     "    w += mu * vel - lr * g if nesterov else old\n"),
    ("momentum on the gradient", MOVE + "    vel -= mu * (lr * g)\n"
     "    if nesterov:\n        w += mu * vel\n        w -= lr * g\n    else:\n        w += vel\n"),
    ("nesterov backwards", MOVE + "    vel[:] = mu * vel - lr * g\n"
     "    if not nesterov:\n        w += vel\n        return\n    w -= lr * g + mu * vel\n"),
    ("uphill in SGD", MOVE + "    vel[:] = mu * vel + lr * g\n"
     "    w += mu * vel + lr * g if nesterov else vel\n"),
    # sigmoid
    ("sigmoid overwrites Z", "def sigmoid(Z):\n    np.negative(Z, out=Z)\n    np.exp(Z, out=Z)\n"
     "    Z += 1\n    np.reciprocal(Z, out=Z)\n    return Z\n"),
    ("sigmoid' of Z", CURVE + "    return np.multiply(dA, Z - Z * Z)\n"),
    ("sigmoid' of the output", CURVE + "    s = 1 / (1 + np.exp(-A))\n    return dA * (s - s * s)\n"),
    ("sigmoid' forgotten", CURVE + "    return 1.0 * dA\n"),
]  # fmt: skip

SLIPS = [
    # somebody's own mistakes: none is the museum's, so none may get a name
    BACK + "    dW[:] = X.T @ dZ\n    if db is not None: db[:] = dZ[-1]\n"
    "    return dZ @ W.T if need_dX else None\n",
    BACK + "    dW[:] = X.T @ dZ\n    if db is not None: db[:] = dZ.sum(0)\n"
    "    return -dZ @ W.T if need_dX else None\n",
    BACK + "    dW[:] = X.T @ np.maximum(dZ, 0)\n    if db is not None: db[:] = dZ.sum(0)\n"
    "    return dZ @ W.T if need_dX else None\n",
    BACK + "    dW[:] = X.T @ dZ\n    if db is not None: db[:] = dZ.max(0)\n"
    "    return dZ @ W.T if need_dX else None\n",
    BACK + "    dW[:] = X.T @ dZ / 2\n    if db is not None: db[:] = dZ.sum(0) / 2\n"
    "    return dZ @ W.T if need_dX else None\n",
    RELU + "    return dA * Z * (Z > 0)\n",
    RELU + "    return dA * (Z > 1)\n",
    "def relu(Z):\n    return Z * (Z > -1)\n",
    "def dense(X, W, b):\n    Z = (X @ W).astype(int)\n    return Z if b is None else Z + b\n",
    LOSS + "    return dl[:, None] * (np.exp(log_p) - T / 2)\n",
    LOSS + "    return dl[0] * (np.exp(log_p) - T)\n",
    HEAD + "    return shown, shown * (1 - shown) * (p - T) / len(Z)\n",
    SIZE + "    return learning_rate * (1 - beta_2**t) / (1 - beta_1**t)\n",
    SIZE + "    return learning_rate * np.sqrt(1 - beta_1**t) / (1 - beta_2**t)\n",
    ADAM + "    m += a * (g - m)\n    v += b * (g**2 - v)\n    w -= alpha * m / (v + eps)\n",
    ADAM + "    w -= alpha * m / (np.sqrt(v) + eps)\n    m += a * (g - m)\n    v += b * (g**2 - v)\n",
    ADAM + "    m += a * (g - m)\n    v += b * (abs(g) - v)\n"
    "    w -= alpha * m / (np.sqrt(v) + eps)\n",
    ADAM + "    m[:] = a * m + (1 - a) * g\n    v[:] = b * v + (1 - b) * g**2\n"
    "    w -= alpha * m / (np.sqrt(v) + eps)\n",
    AMS + "    m += a * (g - m)\n    v += b * (g**2 - v)\n    v[:] = np.maximum(v, top)\n"
    "    top[:] = v\n    w -= alpha * m / (np.sqrt(v) + eps)\n",
    MOVE + "    vel[:] = mu * vel - lr * g\n    w += vel\n",
    "def backward(d, tape, layers):\n    found = []\n"
    "    for k in reversed(range(len(layers))):\n"
    "        found.insert(0, (tape[k][0].T @ d, d.sum(0)))\n"
    "        d = (d @ layers[k][0].T) * (tape[k][0] < 0)\n    return found\n",
    "def backward(d, tape, layers):\n    found = []\n"
    "    for k in reversed(range(len(layers))):\n"
    "        found.append((tape[k][0].T @ d, d.sum(0)))\n"
    "        d = (d @ layers[k][0].T) * (tape[k][0] > 0)\n    return found\n",
    "def forward(X, layers):\n    tape = []\n    for W, b in layers:\n"
    "        tape.append((X, X @ W + b))\n        X = np.maximum(X @ W + b, 0)\n"
    "    return X, tape\n",
    CURVE + "    return dA * A\n",
    CURVE + "    return dA * A * (1 + A)\n",
    STEP + "    d = (p - T) / n\n" + GO.replace("return loss", "return 2 * loss"),
    "def dropout(X, mask, rate):\n    return X * mask / rate if rate else X\n",
]  # fmt: skip

DIFFERENT = [
    "def dense(a, w, c):\n    out = np.array([[sum(x * y for x, y in zip(r, k)) for k in w.T]"
    " for r in a])\n    return out if c is None else out + c[None]\n",
    "def dense(a, w, c):\n    z = np.tensordot(a, w, 1)\n    if c is not None: z += c\n    return z\n",
    BACK + "    dW.fill(0)\n    for n in reversed(range(len(X))): dW[:] += np.outer(X[n], dZ[n])\n"
    "    if db is not None: np.sum(dZ, axis=0, out=db)\n"
    "    return np.stack([W @ d for d in dZ]) if need_dX else None\n",
    BACK + "    f = np.float32\n    dW[:] = X.T.astype(f) @ dZ.astype(f)\n"
    "    if db is not None: db[:] = dZ.astype(f).sum(0)\n"
    "    if need_dX: return (dZ.astype(f) @ W.astype(f).T)\n",
    "def relu(Z):\n    return np.vectorize(lambda z: z if z > 0 else 0.0)(Z)\n",
    RELU + "    return np.sign(A) * dA\n",
    "def softmax_cross_entropy(Z, T):\n    m = np.max(Z, 1, keepdims=True)\n"
    "    lse = m + np.log(np.sum(np.exp(Z - m), 1, keepdims=True))\n"
    "    return (lse[:, 0] - np.einsum('bk,bk->b', Z, T)), Z - lse\n",
    LOSS + "    p = np.exp(log_p)\n    p[T.astype(bool)] -= 1\n    return (p.T * dl).T\n",
    SIZE + "    import math\n    return learning_rate * math.sqrt(1 - beta_2**t) / (1 - beta_1**t)\n",
    ADAM + "    for k in range(len(w)):\n        m[k] = (1 - a) * m[k] + a * g[k]\n"
    "        v[k] = (1 - b) * v[k] + b * g[k] * g[k]\n"
    "        w[k] -= alpha * m[k] / (v[k] ** 0.5 + eps)\n",
    MOVE + "    np.multiply(vel, mu, out=vel)\n    vel += -lr * g\n"
    "    w += vel\n    if nesterov: w += mu * vel - lr * g - vel\n",
    HEAD + "    return shown, np.divide(p - T, len(p))\n",
    STEP + "    d = (p - T) / n\n" + GO,
    "def softmax(Z):\n    d = Z[:, :, None] - Z[:, None, :]\n"
    "    return 1 / np.exp(np.minimum(-d, 700)).sum(2)\n",
]  # fmt: skip


def judged(text):
    """The mark of what is written here, in this process."""
    name = next(name for name in EXERCISES if f"def {name}(" in text)
    module = types.ModuleType("network")
    exec(f"import numpy as np\n\n{text}", module.__dict__)
    return mark(EXERCISES[name], getattr(module, name))


def test_there_are_as_many_as_are_promised():
    assert len(PLANTED) >= 40 and len({bug for bug, _ in PLANTED}) >= 30
    assert len(SLIPS) >= 15 and len(DIFFERENT) >= 12


@pytest.mark.parametrize(("bug", "text"), PLANTED)
def test_a_bug_in_a_learner_s_own_words_is_wrong_and_named(bug, text):
    found = judged(text)
    assert found.state == "wrong" and len(found.lines) < 25
    assert any(f"looks like {bug!r}:" in line for line in found.lines), found.lines


@pytest.mark.parametrize("text", SLIPS)
def test_a_slip_that_is_nobody_s_is_wrong_and_gets_no_name(text):
    found = judged(text)
    assert found.state == "wrong" and 1 < len(found.lines) < 25
    assert not any("looks like" in line for line in found.lines), found.lines


@pytest.mark.parametrize("text", DIFFERENT)
def test_right_in_another_way_passes(text):
    assert judged(text).state == "passed", judged(text).lines

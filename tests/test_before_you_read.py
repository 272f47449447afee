"""The page that comes before the core: its numbers are what scratchnet computes."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from scratchnet import Input, Sequential, config, layers
from scratchnet.engines import reference
from scratchnet.optimizers import SGD

PAGE = (Path(__file__).parents[1] / "docs" / "before_you_read.md").read_text(encoding="utf-8")


def worked() -> dict[str, np.ndarray]:
    """Every array of the page's table by its name."""
    cells = [cell.strip() for line in PAGE.splitlines() for cell in line.split("|")]
    return {
        re.match(r"\w+", name)[0]: np.array(ast.literal_eval(array.strip("`")), float)
        for name, array in pairwise(cells)
        if array.startswith("`[[")
    }


@pytest.fixture
def model():
    config.set_floatx("float64")
    stack = [layers.Dense(2, "relu", name="one"), layers.Dense(1, name="two")]
    model = Sequential([Input((2,)), *stack])
    model.compile(SGD(0.1), "mse", engine="reference")
    model.set_weights([worked()["W1"], np.zeros(2), worked()["W2"], np.array([-1.0])])
    return model


def test_the_worked_numbers_are_the_models_own(model):
    page, target = worked(), [[4.0]]
    assert len(page) == 12
    stages = model.activations(page["X"])
    found = {"Z1": stages["one/Z"], "A1": stages["one/A"], "Z2": stages["two/Z"]}
    loss, (dW1, db1, dW2, db2) = model.loss_and_gradients(page["X"], target)
    found |= {"X": page["X"], "W1": model.get_weights()[0], "W2": model.get_weights()[2]}
    found |= {"dW1": dW1, "dW2": dW2}
    # What a model does not show: its dZ and dA, by the functions that its backward pass calls.
    batch = model.batch(page["X"], target)
    head = model.run(batch.x)[-1]
    _, dZ2 = model.objective.value_and_gradient(head.Z, head.A, batch.y, None)
    dA1 = reference.dense_backward(dZ2, page["A1"], page["W2"], dW2, None, True)
    dZ1 = reference.relu_backward(dA1, page["Z1"], page["A1"])
    dX = reference.dense_backward(dZ1, page["X"], page["W1"], dW1, None, True)
    found |= {"dZ2": dZ2, "dA1": dA1, "dZ1": dZ1, "dX": dX}
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in page.items()
    }
    assert db1.tolist() == dZ1.sum(axis=0).tolist() and db2.tolist() == dZ2.sum(axis=0).tolist()
    assert loss == 1 and "(5 - 4)² = 1" in PAGE
    model.train_on_batch(page["X"], target)
    after = ast.literal_eval(re.search(r"W1 - 0.1 dW1 is `(.*?)`", PAGE)[1])
    assert model.get_weights()[0] == pytest.approx(np.array(after), rel=1e-15)


def test_every_gradient_of_the_table_is_what_the_loss_does(model):
    """dX and dW1 by moving X and W1: each as the page defines it, and of its array's shape."""
    page = worked()

    def loss(**moved):
        arrays = page | moved
        W1, W2 = arrays["W1"], arrays["W2"]
        theta = np.concatenate([W1.ravel(), [0, 0], W2.ravel(), [-1]])
        return model.loss_at(theta, arrays["X"], [[4.0]])

    for name in ("X", "W1", "W2"):
        gradient = page[f"d{name}"]
        assert gradient.shape == page[name].shape
        for index in np.ndindex(gradient.shape):
            step = np.zeros_like(gradient)
            step[index] = 2.0**-20
            slope = (loss(**{name: page[name] + step}) - loss(**{name: page[name] - step})) * 2**19
            assert slope == pytest.approx(gradient[index], abs=1e-9)


def test_what_the_page_says_of_weights_holds():
    """The weight of a class is that of its samples; sample b counts w_b / B everywhere."""
    config.set_floatx("float64")
    model = Sequential([Input((2,)), layers.Dense(2, "softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy", engine="reference")
    x, y, weights = np.array([[1.0, 2.0], [2.0, -1.0]]), np.array([1, 0]), [3.0, 0.5]
    loss, gradients = model.loss_and_gradients(x, y, sample_weight=weights)
    alone = [model.loss_and_gradients(x[[b]], y[[b]]) for b in range(2)]
    parts = [w * part for w, (part, _) in zip(weights, alone, strict=True)]
    assert loss == pytest.approx(sum(parts) / 2, rel=1e-14)
    for whole, *parts in zip(gradients, *(found for _, found in alone), strict=True):
        right = sum(w * part for w, part in zip(weights, parts, strict=True)) / 2
        assert whole == pytest.approx(right, rel=1e-14)
    assert model.train_on_batch(x, y, class_weight={0: 0.5, 1: 3.0}) == loss


@pytest.mark.parametrize("name", ["activations", "loss_and_gradients", "loss_at"])
def test_the_functions_that_the_page_names_exist(name, model):
    assert f"`model.{name}(" in PAGE and callable(getattr(model, name))

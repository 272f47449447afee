"""A script written for Keras, run twice: by Keras, and with scratchnet standing in its place.

Its steps are those of the well-known MNIST script, from the imports to the printed accuracy, for
one epoch; nothing in it knows which library answers. Both runs see all of MNIST.
"""

from __future__ import annotations

import sys
import types

import keras
import numpy as np
import pytest

import scratchnet

SCRIPT = """
from tensorflow import keras
from tensorflow.keras import layers
from keras.datasets import mnist
from keras.models import Sequential, load_model
from keras.callbacks import EarlyStopping
import keras.utils

keras.utils.set_random_seed(SEED)
(train_images, train_digits), (test_images, test_digits) = mnist.load_data()
train_images, test_images = train_images / DIVISOR, test_images / DIVISOR

net = keras.Sequential([
    layers.Flatten(input_shape=(28, 28)),
    layers.Dense(50, activation="relu"),
    keras.layers.Dense(50, activation="relu"),
    keras.layers.Dense(10, activation="sigmoid"),
])
net.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = net.fit(train_images, train_digits, epochs=1, verbose=2)
test_loss, test_accuracy = net.evaluate(test_images, test_digits)
print(f"accuracy on the test images: {test_accuracy:.4f}")

outputs = net.predict(test_images[:100])
guesses = outputs.argmax(axis=1)
net.summary()

other = Sequential(name="other")
other.add(keras.Input(shape=(28, 28)))
other.add(layers.Rescaling(1.0 / 255))
other.add(layers.Flatten())
other.add(layers.Dense(10, activation="softmax", kernel_initializer="he_normal"))
other.compile(keras.optimizers.SGD(learning_rate=0.1, momentum=0.9),
              keras.losses.CategoricalCrossentropy(),
              metrics=[keras.metrics.CategoricalAccuracy(name="hits")])
rows = keras.utils.to_categorical(train_digits[:2000])
second = other.fit(train_images[:2000] * DIVISOR, rows, batch_size=64, epochs=30, verbose=0,
                   validation_split=0.1,
                   callbacks=[EarlyStopping(monitor="val_hits", patience=2)])
"""


@pytest.fixture
def run(mnist, monkeypatch):
    """Run the script, with `library` answering to the names keras and tensorflow.keras."""

    def run(library, divisor, seed=0):
        with monkeypatch.context() as patch:
            if library is scratchnet:
                stand_in(patch)
            else:  # no download
                x_train, y_train, x_test, y_test = mnist
                data = (x_train, y_train), (x_test, y_test)
                patch.setattr(keras.datasets.mnist, "load_data", lambda: data)
            space = {"DIVISOR": divisor, "SEED": seed}
            exec(compile(SCRIPT, "script.py", "exec"), space)
        return space

    return run


def stand_in(patch):
    """Let `import keras` and `from tensorflow import keras` find scratchnet and its rooms."""
    for name in list(sys.modules):
        if name.split(".")[0] in ("keras", "tensorflow"):
            patch.delitem(sys.modules, name)
    tensorflow = types.ModuleType("tensorflow")
    tensorflow.keras = scratchnet
    patch.setitem(sys.modules, "tensorflow", tensorflow)
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "scratchnet":
            rest = name.removeprefix("scratchnet")
            patch.setitem(sys.modules, f"keras{rest}", module)
            patch.setitem(sys.modules, f"tensorflow.keras{rest}", module)


def shape_of(space):
    """What a script can see of its results, numbers aside."""
    return {
        "history": list(space["history"].history),
        "second": list(space["second"].history),
        "epochs": space["history"].epoch,
        "losses": [type(value) for value in space["history"].history["loss"]],
        "evaluated": [type(space["test_loss"]), type(space["test_accuracy"])],
        "outputs": (type(space["outputs"]), space["outputs"].shape, space["outputs"].dtype),
        "weights": [w.shape for w in space["net"].get_weights()],
        "parameters": space["net"].count_params(),
        "layers": [type(layer).__name__ for layer in space["net"].layers],
        "shapes": (space["net"].input_shape, space["net"].output_shape),
        "name": space["other"].name,
    }


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
@pytest.mark.parametrize("divisor", [1, 255.0], ids=["unscaled", "scaled"])
def test_a_keras_script_runs_with_scratchnet_in_keras_place(run, divisor, capsys):
    ours = run(scratchnet, divisor)
    said = capsys.readouterr().out
    theirs = run(keras, divisor)
    keras_said = capsys.readouterr().out
    assert shape_of(ours) == shape_of(theirs)
    for text in (said, keras_said):
        assert "1875/1875" in text
        assert "accuracy on the test images: " in text
        assert "Dense" in text and "39,250" in text
    assert ours["net"].layers[0].__class__.__module__.startswith("scratchnet")
    assert theirs["net"].layers[0].__class__.__module__.startswith("keras")
    accuracies = ours["test_accuracy"], theirs["test_accuracy"]
    if divisor == 1:
        # Saturated sigmoids tie, and how often is chance: 8 seeds of each gave 59 to 85 %.
        assert all(0.4 < accuracy < 0.95 for accuracy in accuracies)
    else:
        # 8 seeds of each ended between 93.1 and 95.6 %.
        assert all(0.92 < accuracy < 0.965 for accuracy in accuracies)
    for space in (ours, theirs):
        hits = space["second"].history["hits"]
        assert len(hits) < 30 and hits[-1] > 0.9
        assert np.array_equal(space["guesses"], space["outputs"].argmax(axis=1))

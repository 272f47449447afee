"""What a user of Sequential meets without Keras: errors without a trace, seeds, files, callbacks.

An error must name the value, what was expected and the remedy, and leave the model bit for bit as
it was; `state` below is everything that decides what a model does next.
"""

from __future__ import annotations

import csv
import json
import random
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

import scratchnet
from scratchnet import (
    Input,
    Sequential,
    callbacks,
    config,
    layers,
    losses,
    metrics,
    optimizers,
    utils,
)

RNG = np.random.default_rng(7)
X = RNG.random((23, 6), dtype=np.float32)
Y = RNG.integers(0, 3, 23)


@pytest.fixture(autouse=True)
def readable():
    config.set_engine("reference")


def network(seed=0, optimizer="adam", built=True, head="softmax", **options) -> Sequential:
    stack = [Input((6,))] if built else []
    stack += [layers.Dense(5, "relu"), layers.Dense(3, head)]
    model = Sequential(stack, seed=seed)
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | options
    model.compile(optimizer, **options)
    return model


def trained(**options) -> Sequential:
    """A model whose optimizer has slots and whose generator was used."""
    model = network(**options)
    model.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    return model


def state(model: Sequential) -> tuple:
    optimizer = getattr(model, "optimizer", None)
    return (
        model.theta.tobytes(),
        [layer.input_shape for layer in model.layers],
        [layer.name for layer in model.layers],
        model._input_shape,
        model.stop_training,
        id(model.history),
        str(model.rng.bit_generator.state),
        optimizer
        and (
            id(optimizer),
            optimizer.iterations,
            optimizer.learning_rate,
            {name: slot.tobytes() for name, slot in optimizer.slots.items()},
        ),
        id(getattr(model, "loss", None)),
        getattr(model, "metrics_asked", None),
    )


def with_hole(value):
    x = X.copy()
    x[4, 2] = value
    return x


def with_label(value):
    y = Y.astype(np.float64)
    y[9] = value
    return y


# --- errors ---------------------------------------------------------------------------------------

DATA_ERRORS = {
    "wrong rank": (lambda m: m.fit(X[:, :, None, None], Y), "(23, 6, 1, 1)", "(samples, 6)"),
    "one sample without its axis": (lambda m: m.predict(X[0]), "(6,)", "(samples, 6)"),
    "too few features": (lambda m: m.fit(X[:, :5], Y), "(23, 5)", "(samples, 6)"),
    "a number instead of samples": (lambda m: m.fit(3.0, Y), "()", "(samples, 6)"),
    "no samples": (lambda m: m.fit(X[:0], Y[:0]), "no samples", "at least one"),
    "text": (lambda m: m.fit(X.astype(str), Y), "<U", "real numbers"),
    "complex numbers": (lambda m: m.fit(X + 1j, Y), "complex", "real numbers"),
    "nothing": (lambda m: m.fit(None, Y), "object", "real numbers"),
    "a NaN": (lambda m: m.fit(with_hole(np.nan), Y), "nan at index (4, 2)", "nan_to_num"),
    "an infinity": (lambda m: m.evaluate(with_hole(-np.inf), Y), "-inf at index (4, 2)", "finite"),
    "a NaN to predict": (lambda m: m.predict(with_hole(np.nan)), "nan at index (4, 2)", "finite"),
    "no targets": (lambda m: m.fit(X), "y=None", "fit(x, y)"),
    "fewer labels than samples": (lambda m: m.fit(X, Y[:20]), "20 samples, x has 23", "one target"),
    "a label that no output stands for": (lambda m: m.fit(X, with_label(3)), "3.0", "0 to 2"),
    "a negative label": (lambda m: m.evaluate(X, with_label(-1)), "-1.0 at index 9", "0 to 2"),
    "a label between two integers": (lambda m: m.fit(X, with_label(1.5)), "1.5", "integer labels"),
    "a label that is not a number": (lambda m: m.fit(X, with_label(np.nan)), "nan", "integer"),
    "one-hot rows for integer labels": (
        lambda m: m.fit(X, np.eye(3)[Y]),
        "(23, 3)",
        "categorical_crossentropy",
    ),
    "labels as text": (lambda m: m.fit(X, Y.astype(str)), "<U", "integer labels"),
    "too few weights": (lambda m: m.fit(X, Y, sample_weight=[1, 2]), "(2,)", "(23,)"),
    "a weight that is no number": (
        lambda m: m.fit(X, Y, sample_weight=["a"] * 23),
        "'a'",
        "one number a sample",
    ),
    "an infinite weight": (
        lambda m: m.fit(X, Y, sample_weight=np.full(23, np.inf)),
        "inf",
        "finite",
    ),
    "class_weight together with sample_weight": (
        lambda m: m.fit(X, Y, class_weight={0: 2.0}, sample_weight=np.ones(23)),
        "both given",
        "Multiply",
    ),
    "class_weight as a list": (lambda m: m.fit(X, Y, class_weight=[1, 2]), "[1, 2]", "dict"),
    "class_weight for no label": (
        lambda m: m.train_on_batch(X, Y, class_weight={"cat": 1}),
        "'cat'",
        "label: weight",
    ),
    "a validation set without targets": (
        lambda m: m.fit(X, Y, validation_data=(X,)),
        "validation_data",
        "(x, y, sample_weight)",
    ),
    "a validation set of another shape": (
        lambda m: m.fit(X, Y, validation_data=(X[:, :4], Y)),
        "(23, 4)",
        "(samples, 6)",
    ),
    "a validation set with a hole": (
        lambda m: m.fit(X, Y, validation_data=(with_hole(np.nan), Y)),
        "nan",
        "finite",
    ),
    "a parameter vector of another length": (
        lambda m: m.loss_at(np.zeros(3), X, Y),
        "(3,)",
        f"({6 * 5 + 5 + 5 * 3 + 3},)",
    ),
}


def save_twice(model):
    path = Path(tempfile.mkdtemp()) / "twice.npz"
    path.write_text("is there")
    model.save(path, overwrite=False)


ARGUMENT_ERRORS = {
    "epochs": (lambda m: m.fit(X, Y, epochs=-1), "epochs=-1", ">= 0"),
    "epochs that are not whole": (lambda m: m.fit(X, Y, epochs=1.5), "1.5", "integer"),
    "batch_size 0": (lambda m: m.fit(X, Y, batch_size=0), "batch_size=0", ">= 1"),
    "batch_size True": (lambda m: m.predict(X, batch_size=True), "True", "integer"),
    "initial_epoch": (lambda m: m.fit(X, Y, initial_epoch=-2), "initial_epoch=-2", ">= 0"),
    "validation_split above 1": (lambda m: m.fit(X, Y, validation_split=1.5), "1.5", "(0, 1)"),
    "validation_split below 0": (lambda m: m.fit(X, Y, validation_split=-0.1), "-0.1", "(0, 1)"),
    "validation_split that leaves nothing to train": (
        lambda m: m.fit(X, Y, validation_split=0.99),
        "0.99 of 23",
        "both sides",
    ),
    "validation_split as text": (lambda m: m.fit(X, Y, validation_split="a"), "'a'", "(0, 1)"),
    "validation_freq": (
        lambda m: m.fit(X, Y, validation_split=0.5, validation_freq=0),
        "validation_freq=0",
        ">= 1",
    ),
    "validation_batch_size": (
        lambda m: m.fit(X, Y, validation_split=0.5, validation_batch_size=-1),
        "-1",
        ">= 1",
    ),
    "validation_steps": (
        lambda m: m.fit(X, Y, validation_split=0.5, validation_steps=0),
        "validation_steps=0",
        ">= 1",
    ),
    "steps_per_epoch": (lambda m: m.fit(X, Y, steps_per_epoch=0), "steps_per_epoch=0", ">= 1"),
    "steps": (lambda m: m.evaluate(X, Y, steps=2.5), "2.5", "integer"),
    "shuffle": (lambda m: m.fit(X, Y, shuffle="batch"), "'batch'", "True, False"),
    "verbose": (lambda m: m.fit(X, Y, verbose=3), "verbose=3", "0, 1, 2, 'auto'"),
    "a callback that is none": (lambda m: m.fit(X, Y, callbacks=[print]), "print", "Callback"),
    "early stopping on a name whose direction nobody knows": (
        lambda m: m.fit(X, Y, callbacks=[callbacks.EarlyStopping("val_los")]),
        "'val_los'",
        "mode='max'",
    ),
    "weights of other shapes": (
        lambda m: m.set_weights([w.T for w in m.get_weights()]),
        "(5, 6)",
        "(6, 5)",
    ),
    "too few arrays of weights": (
        lambda m: m.set_weights(m.get_weights()[:3]),
        "(3,)",
        "get_weights()",
    ),
    "weights that are text": (
        lambda m: m.set_weights([*m.get_weights()[:3], np.array(["a", "b", "c"])]),
        "<U1",
        "numbers",
    ),
    "a layer's weights": (
        lambda m: m.layers[0].set_weights([np.ones((6, 5))]),
        "(6, 5)",
        "(5,)",
    ),
    "a layer that is in the model": (lambda m: m.add(m.layers[0]), "'dense'", "make a new one"),
    "a layer with a name that is taken": (
        lambda m: m.add(layers.Dense(3, name="dense_1")),
        "'dense_1'",
        "make a new one",
    ),
    "a function instead of a layer": (lambda m: m.add(print), "print", "such as Dense"),
    "an Input on top": (lambda m: m.add(Input((3,))), "Input", "first"),
    "another shape for a model that has one": (lambda m: m.build((None, 7)), "(None, 7)", "6"),
    "an unknown layer name": (lambda m: m.get_layer("dense_2"), "'dense_2'", "'dense_1'"),
    "a place where no layer is": (lambda m: m.get_layer(index=2), "index=2", "2 layers"),
    "name and index": (lambda m: m.get_layer("dense", 0), "'dense'", "one of them"),
    "an optimizer that is misspelt": (lambda m: m.compile("adm", "mse"), "'adm'", "'adam'?"),
    "an optimizer that is not here": (lambda m: m.compile("ftrl", "mse"), "'ftrl'", "'adam'"),
    "a loss that is misspelt": (
        lambda m: m.compile("sgd", "sparse_categorical_crossentrop"),
        "'sparse_categorical_crossentrop'",
        "Did you mean 'sparse_categorical_crossentropy'?",
    ),
    "no loss": (lambda m: without_loss().fit(X, Y), "no loss", "compile(optimizer, loss)"),
    "a loss without a number": (
        lambda m: m.compile("sgd", losses.MeanSquaredError(reduction=None)),
        "'none'",
        "no number",
    ),
    "a metric that is misspelt": (
        lambda m: m.compile("sgd", "mse", metrics=["acuracy"]),
        "'acuracy'",
        "'accuracy'?",
    ),
    "a metric outside of a list": (
        lambda m: m.compile("sgd", "mse", metrics="accuracy"),
        "'accuracy'",
        "['accuracy']",
    ),
    "metrics in the place of loss_weights": (
        lambda m: m.compile("sgd", "mse", ["accuracy"]),
        "loss_weights",
        "None",
    ),
    "an engine that is misspelt": (lambda m: m.compile("sgd", "mse", engine="fast"), "fast", "ref"),
    "no threads": (lambda m: m.compile("sgd", "mse", threads=0), "threads=0", ">= 1"),
    "a file that is there": (
        save_twice,
        "twice.npz",
        "overwrite=True",
    ),
}
ERRORS = DATA_ERRORS | ARGUMENT_ERRORS


def without_loss():
    model = Sequential([Input((6,)), layers.Dense(3)])
    model.compile("sgd")
    return model


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_says_value_expectation_and_remedy_and_leaves_the_model_as_it_was(case, engine):
    act, value, expected = ERRORS[case]
    model = trained()
    before = state(model)
    with pytest.raises((ValueError, TypeError, FileExistsError)) as caught:
        act(model)
    assert value in str(caught.value)
    assert expected in str(caught.value)
    assert state(model) == before


NEEDS_A_SHAPE = {"a parameter vector of another length", "wrong rank", "too few features"}


@pytest.mark.parametrize("case", sorted(set(DATA_ERRORS) - NEEDS_A_SHAPE))
def test_a_model_without_a_shape_does_not_take_one_from_data_that_is_refused(case):
    model = network(built=False)
    before = state(model)
    with pytest.raises((ValueError, TypeError)):
        DATA_ERRORS[case][0](model)
    assert state(model) == before
    assert not model.built


def test_a_metric_that_cannot_read_the_targets_is_refused_before_a_weight_moves():
    model = trained()
    model.compile(model.optimizer, "sparse_categorical_crossentropy", metrics=["mse"])
    before = state(model)
    with pytest.raises(ValueError, match=r"'mse': targets of shape \(23,\).*outputs .*\(23, 3\)"):
        model.fit(X, Y, verbose=0)
    assert state(model) == before


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_nothing_is_trained_or_tested_before_compile(call):
    model = Sequential([Input((6,)), layers.Dense(3)], seed=0)
    before = state(model)
    with pytest.raises(ValueError, match=rf"{call}: .*call compile\(optimizer, loss\)"):
        getattr(model, call)(X, Y)
    assert state(model) == before
    assert model.predict(X).shape == (23, 3)


def test_an_optimizer_with_another_models_slots_is_refused(engine):
    used = trained().optimizer
    other = Sequential([Input((6,)), layers.Dense(3)], seed=0)
    other.compile(used, "sparse_categorical_crossentropy")
    before = state(other)
    with pytest.raises(ValueError, match="compile with a new optimizer"):
        other.fit(X, Y, verbose=0)
    assert state(other) == before


LAYER_ERRORS = {
    "units 0": (lambda: layers.Dense(0), "0"),
    "units -3": (lambda: layers.Dense(-3), "-3"),
    "units 2.5": (lambda: layers.Dense(2.5), "2.5"),
    "units as text": (lambda: layers.Dense("10"), "'10'"),
    "an activation that is misspelt": (lambda: layers.Dense(3, "rleu"), "Did you mean 'relu'?"),
    "a function of one's own": (lambda: layers.Dense(3, np.sin), "write a Layer"),
    "an initializer that is misspelt": (
        lambda: layers.Dense(3, kernel_initializer="he_norml"),
        "Did you mean 'he_normal'?",
    ),
    "an argument that is misspelt": (
        lambda: layers.Dense(3, inputshape=(4,)),
        "Did you mean 'input_shape'?",
    ),
    "a regularizer that is misspelt": (
        lambda: layers.Dense(3, kernel_regularizer="l3"),
        "regularizer='l3'",
    ),
    "another dtype": (lambda: layers.Dense(3, dtype="float64"), "config.set_floatx"),
    "an axis of 0": (lambda: layers.Flatten(input_shape=(28, 0)), "(28, 0)"),
    "a shape with None": (lambda: Input((None, 28)), "positive integers"),
    "no shape": (lambda: Input(), "one of them"),
    "two shapes": (lambda: Input((4,), batch_shape=(None, 4)), "one of them"),
    "a sparse input": (lambda: Input((4,), sparse=True), "sparse=True"),
    "images into Dense": (lambda: Sequential([Input((2, 2)), layers.Dense(3)]), "Flatten"),
    "a learning rate below 0": (lambda: optimizers.SGD(-0.1), "-0.1"),
    "a momentum above 1": (lambda: optimizers.SGD(momentum=1.5), "1.5"),
    "a beta of 1": (lambda: optimizers.Adam(beta_2=1.0), "[0, 1)"),
    "an epsilon of 0": (lambda: optimizers.Adam(epsilon=0), "> 0"),
    "clipping twice": (lambda: optimizers.Adam(clipnorm=1.0, clipvalue=1.0), "Only one of"),
    "an optimizer's argument that is misspelt": (
        lambda: optimizers.Adam(amsgrads=True),
        "amsgrads",
    ),
    "a reduction that is misspelt": (
        lambda: losses.MeanSquaredError(reduction="summ"),
        "Did you mean 'sum'?",
    ),
    "a smoothing above 1": (lambda: losses.CategoricalCrossentropy(label_smoothing=2), "[0, 1]"),
    "a reading that is misspelt": (
        lambda: losses.SparseCategoricalCrossentropy(sigmoid_head="logit"),
        "Did you mean 'logits'?",
    ),
    "a seed below 0": (lambda: utils.set_random_seed(-1), "-1"),
    "labels that are not whole": (lambda: utils.to_categorical([0.5]), "integer labels"),
    "a label beyond num_classes": (lambda: utils.to_categorical([3], 2), "num_classes > 3"),
    "half precision": (lambda: config.set_floatx("float16"), "'float16'"),
    "another engine": (lambda: config.set_engine("compild"), "Did you mean 'compiled'?"),
}


@pytest.mark.parametrize("case", LAYER_ERRORS)
def test_a_part_that_cannot_be_made_says_why(case):
    make, said = LAYER_ERRORS[case]
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_a_loss_that_stops_being_finite_ends_training_with_epoch_and_batch(engine):
    model = network(optimizer=optimizers.SGD(1e38), head="linear", loss="mse", metrics=[])
    # And without a warning of NumPy's before it: that would fail here.
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) in epoch 1, batch \d"):
        model.fit(X, np.eye(3)[Y], batch_size=4, verbose=0)


def drowned() -> Sequential:
    """Every sigmoid is 0, and read as a probability that is divided by their sum: 0 / 0 in Keras
    too."""
    loss = losses.CategoricalCrossentropy(sigmoid_head="probabilities")
    model = network(head="sigmoid", loss=loss, metrics=[])
    model.set_weights([np.full_like(w, -1000.0 * (w.ndim == 1)) for w in model.get_weights()])
    return model


def test_probabilities_that_are_all_0_are_told_of_in_our_words_alone(engine):
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1, batch 0"):
        drowned().fit(X, np.eye(3)[Y], batch_size=4, verbose=0)


def test_who_asks_numpy_for_errors_gets_them_from_fit():
    with (
        np.errstate(divide="raise", invalid="raise"),
        pytest.raises(FloatingPointError, match="in divide"),
    ):
        drowned().fit(X, np.eye(3)[Y], batch_size=4, verbose=0)


# --- what fit returns and prints ------------------------------------------------------------------


def test_history_holds_one_number_an_epoch_under_keras_names(engine):
    model = network()
    history = model.fit(X, Y, epochs=5, initial_epoch=2, validation_split=0.3, verbose=0)
    assert history.epoch == [2, 3, 4]
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 3 for values in history.history.values())
    assert all(type(value) is float for values in history.history.values() for value in values)
    assert model.history is history
    assert history.model is model
    assert history.params == {"verbose": 0, "epochs": 5, "steps": 1}


def test_no_epoch_leaves_an_empty_history_and_no_step(engine):
    model = network()
    before = model.theta.tobytes()
    assert model.fit(X, Y, epochs=0, verbose=0).history == {}
    assert model.fit(X, Y, epochs=3, initial_epoch=3, verbose=0).history == {}
    assert model.theta.tobytes() == before
    assert model.optimizer.iterations == 0


def test_verbose_0_is_silent_and_1_and_2_write_a_line_an_epoch(capsys):
    model = network()
    model.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    model.evaluate(X, Y, verbose=0)
    model.predict(X)
    assert capsys.readouterr().out == ""
    for verbose in (1, 2, "auto"):
        model.fit(X, Y, epochs=2, batch_size=8, verbose=verbose, validation_split=0.5)
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
        assert len(lines) == 4
        for line in lines[1::2]:
            assert line.startswith("2/2 - ")
            for name in ("accuracy", "loss", "val_accuracy", "val_loss"):
                assert f" - {name}: " in line
    model.evaluate(X, Y, batch_size=8, verbose=2)
    assert capsys.readouterr().out.startswith("3/3 - ")
    model.fit(X, Y, verbose=2)
    assert "Epoch" not in capsys.readouterr().out


def test_metrics_names_are_in_the_order_of_what_evaluate_returns(engine):
    model = network(metrics=["accuracy", "acc"], weighted_metrics=["accuracy"])
    assert model.metrics_names == ["loss", "accuracy", "acc", "weighted_accuracy"]
    weights = np.arange(23.0)
    numbers = model.evaluate(X, Y, sample_weight=weights, verbose=0)
    named = model.evaluate(X, Y, sample_weight=weights, verbose=0, return_dict=True)
    assert dict(zip(model.metrics_names, numbers, strict=True)) == named
    assert numbers[1] == numbers[2] != numbers[3]
    assert [metric.result() for metric in model.metrics] == numbers
    assert Sequential().metrics_names == Sequential().metrics == []


def test_a_metric_object_keeps_its_name_and_can_be_read_afterwards():
    metric = metrics.SparseCategoricalAccuracy(name="hits")
    model = network(metrics=[metric])
    assert model.evaluate(X, Y, verbose=0, return_dict=True)["hits"] == metric.result()
    metric.reset_state()
    assert metric.result() == 0.0
    assert metric([1, 0], [[0.2, 0.9], [0.1, 0.9]]) == 0.5


def test_an_epoch_counts_to_the_same_bits_however_many_batches_come_at_once():
    """The compiled engine hands batches over in stretches whose length depends on the clock."""
    losses_seen, right = RNG.random(40), RNG.integers(0, 9, 40)
    sizes = np.array([8] * 39 + [3])

    def counted(cuts):
        meters = metrics.Meters([metrics.SparseCategoricalAccuracy("accuracy")], [])
        for rows in np.split(np.arange(40), cuts):
            meters.count(losses_seen[rows], right[rows], sizes[rows])
        return meters.logs()

    whole = counted([])
    assert all(counted([cut]) == whole for cut in range(1, 40))
    assert counted(range(1, 40)) == whole
    assert whole["accuracy"] == right.sum() / sizes.sum()
    assert whole["loss"] == pytest.approx(np.average(losses_seen, weights=sizes), rel=1e-14)


def test_a_function_serves_as_a_metric():
    def margin(y_true, y_pred):
        return y_pred.max(axis=-1) - y_pred.min(axis=-1)

    model = network(metrics=[margin, metrics.sparse_categorical_accuracy])
    found = model.evaluate(X, Y, batch_size=5, verbose=0, return_dict=True)
    outputs = model.predict(X)
    # The metric sums in float64 what is exact in float32: only the last bits of a mean differ.
    assert found["margin"] == pytest.approx(margin(Y, outputs).mean(), rel=1e-6)
    assert found["sparse_categorical_accuracy"] == np.mean(outputs.argmax(-1) == Y)


def test_steps_per_epoch_goes_on_where_the_last_epoch_stopped():
    seen: list[list[float]] = [[]]
    model = network(optimizer=optimizers.SGD(0.0), head="linear", loss="mse", metrics=[])
    targets = np.zeros((23, 3))
    rows = {x.tobytes(): row for row, x in enumerate(X)}
    model.train_step = lambda batch, step=model.train_step: (
        seen[-1].extend(rows[x.tobytes()] for x in batch.x),
        step(batch),
    )[1]
    next_epoch = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append([]))
    with pytest.warns(UserWarning, match="only 1 batches are left"):
        model.fit(X, targets, 8, 4, 0, next_epoch, shuffle=False, steps_per_epoch=2)
    whole = list(range(23))
    assert seen[:4] == [whole[:16], whole[16:], whole[:16], whole[16:]]
    seen[:] = [[]]
    model.fit(X, targets, 8, 3, 0, next_epoch, steps_per_epoch=3)
    assert all(sorted(epoch) == whole and epoch != whole for epoch in seen[:3])
    assert seen[0] != seen[1]


def test_steps_of_evaluate_and_predict_take_the_first_batches():
    model = network()
    assert model.evaluate(X, Y, batch_size=4, steps=2, verbose=0) == model.evaluate(
        X[:8], Y[:8], batch_size=4, verbose=0
    )
    assert np.array_equal(model.predict(X, batch_size=4, steps=2), model.predict(X[:8], 4))


def test_predict_call_and_predict_on_batch_agree():
    model = trained()
    whole = model.predict(X, batch_size=23)
    assert whole.dtype == np.float32
    assert np.array_equal(model(X), whole)
    assert np.array_equal(model.predict_on_batch(X), whole)
    assert model.predict(X, batch_size=4).shape == whole.shape


# --- layers and weights ---------------------------------------------------------------------------


def test_kernel_and_bias_are_views_and_get_weights_are_copies():
    model = network()
    layer = model.layers[0]
    layer.kernel[2, 3] = 7.0
    assert model.theta[2 * 5 + 3] == 7.0
    layer.bias[...] = np.arange(5)
    assert np.array_equal(model.get_weights()[1], np.arange(5))
    model.get_weights()[0][...] = 0
    assert layer.kernel[2, 3] == 7.0
    assert layers.Dense(3, use_bias=False).bias is None
    layer.set_weights([np.ones((6, 5)), np.zeros(5)])
    assert np.all(model.theta[:30] == 1)


def test_add_and_pop_keep_the_weights_below(engine):
    model = network()
    kept = [array.copy() for array in model.layers[0].weights]
    top = model.layers[1].get_weights()
    popped = model.pop()
    assert all(np.array_equal(a, b) for a, b in zip(popped.get_weights(), top, strict=True))
    assert model.count_params() == 35
    model.add(layers.Dense(4))
    assert model.output_shape == (None, 4)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights()[:2], kept, strict=True))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)


def test_a_popped_models_old_optimizer_is_refused_instead_of_misread():
    model = trained()
    model.pop()
    model.add(layers.Dense(4))
    with pytest.raises(ValueError, match="compile with a new optimizer"):
        model.fit(X, Y, verbose=0)


def test_layers_are_found_by_name_and_place():
    model = network()
    assert [layer.name for layer in model.layers] == ["dense", "dense_1"]
    assert model.get_layer("dense_1") is model.get_layer(index=1) is model.get_layer(index=-1)


def test_a_model_can_be_shaped_by_input_shape_input_dim_build_or_its_first_data():
    def shaped(first, act=lambda model: None):
        model = Sequential([first, layers.Dense(3)], seed=1)
        act(model)
        return model

    known = shaped(layers.Dense(5, input_shape=(6,)))
    assert known.input_shape == (None, 6)
    others = [
        shaped(layers.Dense(5, input_dim=6)),
        shaped(layers.Dense(5), lambda model: model.build((None, 6))),
        shaped(layers.Dense(5), lambda model: model.build(input_shape=(32, 6))),
        shaped(layers.Dense(5), lambda model: model.predict(X)),
        Sequential(
            [Input(batch_shape=(None, 6)), layers.Dense(5), layers.Dense(3)], trainable=True, seed=1
        ),
    ]
    for other in others:
        assert other.theta.tobytes() == known.theta.tobytes()


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_the_first_data_shape_a_model_whatever_they_are_for(call):
    model = network(built=False)
    getattr(model, call)(X, Y)
    assert model.input_shape == (None, 6)


def test_a_last_axis_of_one_may_be_there_or_not():
    images = RNG.random((4, 3, 3))
    flat = Sequential([layers.Flatten(input_shape=(3, 3)), layers.Dense(2)], seed=0)
    deep = Sequential([layers.Flatten(input_shape=(3, 3, 1)), layers.Dense(2)], seed=0)
    assert np.array_equal(flat.predict(images[..., None]), flat.predict(images))
    assert np.array_equal(deep.predict(images), flat.predict(images))
    line = Sequential([Input((1,)), layers.Dense(2)], seed=0)
    assert line.predict(np.arange(5.0)).shape == (5, 2)


def test_summary_tells_layers_shapes_and_parameters(capsys):
    model = network()
    model.summary()
    text = capsys.readouterr().out
    for part in ("dense (Dense)", "dense_1 (Dense)", "(None, 5)", "(None, 3)", "35", "18", "53"):
        assert part in text
    lines: list[str] = []
    trained().summary(60, print_fn=lines.append)
    assert capsys.readouterr().out == ""
    assert "Optimizer" in "".join(lines)
    assert max(map(len, "".join(lines).splitlines())) == 60


# --- seeds ----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(engine):
    def run(seed):
        model = network(seed=seed)
        history = model.fit(X, Y, epochs=3, batch_size=5, verbose=0).history
        return model.theta.tobytes(), json.dumps(history)

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_set_random_seed_seeds_models_python_and_numpy():
    def draw():
        return network(seed=None).theta.tobytes(), random.random(), np.random.rand()

    utils.set_random_seed(5)
    first, second = draw(), draw()
    utils.set_random_seed(5)
    assert draw() == first
    assert draw() == second
    assert len({first, second}) == 2
    assert first[0] != second[0]


def test_an_initializer_with_a_seed_draws_the_same_each_time():
    initializer = scratchnet.initializers.HeNormal(seed=4)
    assert np.array_equal(initializer((3, 2)), initializer((3, 2)))
    free, other = scratchnet.initializers.HeNormal(), scratchnet.initializers.HeNormal()
    assert np.array_equal(free((3, 2)), free((3, 2)))  # as in Keras
    assert not np.array_equal(free((3, 2)), other((3, 2)))


def test_the_learning_rate_can_be_written_and_steps_follow_it():
    model = network(optimizer=optimizers.SGD(0.5))
    before = model.theta.copy()
    model.optimizer.learning_rate = 0.0
    model.train_on_batch(X, Y)
    assert np.array_equal(model.theta, before)
    model.optimizer.learning_rate = np.float32(0.25)
    model.train_on_batch(X, Y)
    assert np.array_equal(model.theta, before - np.float32(0.25) * model.grad)
    with pytest.raises(ValueError, match=r"learning_rate=nan: expected a finite number"):
        model.optimizer.learning_rate = np.nan


def test_to_categorical_and_normalize():
    rows = utils.to_categorical([[2], [0]], 4)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert utils.to_categorical([1, 1]).shape == (2, 2)
    assert utils.normalize(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0, 0]]
    assert utils.normalize(np.array([[3.0], [4.0]]), axis=0).tolist() == [[0.6], [0.8]]


# --- callbacks ------------------------------------------------------------------------------------


class Recorder(callbacks.Callback):
    """Every event that it gets, in order."""

    def __init__(self):
        self.events: list[str] = []


def listener(event):
    return lambda self, *arguments, **logs: self.events.append(event)


for name in [name for name in vars(callbacks.Callback) if name.startswith("on_")]:
    setattr(Recorder, name, listener(name))


def test_events_come_in_order_and_reach_validation_evaluation_and_prediction(engine):
    model, recorder = network(), Recorder()
    model.fit(X, Y, validation_split=0.5, verbose=0, callbacks=recorder)
    seen = [event for event in recorder.events if "batch" not in event]
    order = ["train_begin", "epoch_begin", "test_begin", "test_end", "epoch_end", "train_end"]
    assert seen == [f"on_{name}" for name in order]
    recorder.events.clear()
    model.predict(X, callbacks=[recorder])
    assert recorder.events[0] == "on_predict_begin"
    assert recorder.events[-1] == "on_predict_end"
    model.evaluate(X, Y, verbose=0, callbacks=[recorder])
    assert recorder.events[-1] == "on_test_end"


def test_batch_events_get_the_running_numbers(engine):
    seen: list[tuple[int, dict]] = []
    watch = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append((batch, logs))
    )
    history = network().fit(X, Y, batch_size=10, verbose=0, callbacks=[watch]).history
    assert [batch for batch, _ in seen] == [0, 1, 2]
    assert seen[-1][1] == {name: values[0] for name, values in history.items()}
    assert seen[0][1] != seen[1][1]


def test_a_callback_can_stop_training_between_batches(engine):
    model = network()
    batches: list[int] = []

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.append(batch)
            self.model.stop_training = batch == 1

    history = model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=[Stop()])
    assert batches == [0, 1]
    assert history.epoch == [0]
    assert model.optimizer.iterations == 2


def feed(callback, model, numbers, monitor="loss"):
    """The epochs that a callback lets happen when it is told these numbers."""
    told = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update({monitor: numbers[epoch]})
    )
    settings = {"epochs": len(numbers), "verbose": 0, "callbacks": [told, callback]}
    return model.fit(X, Y, **settings).epoch


@pytest.mark.parametrize(
    ("options", "numbers", "last"),
    [
        ({}, [3, 2, 2, 1], 2),  # equal is not better
        ({"patience": 2}, [3, 2, 2, 2, 1], 3),
        ({"min_delta": 0.5}, [3, 2.6, 1], 1),  # better by 0.4 only
        (
            {"baseline": 1.5, "patience": 2},
            [3, 2, 1.8, 0],
            3,
        ),  # improving resets nothing, nor stops
        ({"start_from_epoch": 2}, [1, 2, 3, 4], 3),
        ({"mode": "max"}, [1, 2, 2, 3], 2),
        ({}, [1, 1, 0], 1),  # never after the first epoch
    ],
)
def test_early_stopping_stops_after_the_epoch_worked_out_by_hand(options, numbers, last):
    epochs = feed(callbacks.EarlyStopping("loss", **options), network(), numbers)
    assert epochs[-1] == last


def test_early_stopping_brings_the_best_weights_back_even_if_it_did_not_stop(engine):
    model = network()
    kept: list[bytes] = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda e, logs: kept.append(model.theta.tobytes()))
    stopping = callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
    told = callbacks.LambdaCallback(on_epoch_end=lambda e, logs: logs.update(loss=[3, 1, 2][e]))
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[keep, told, stopping])
    assert stopping.stopped_epoch == 0
    assert (stopping.best_epoch, stopping.best) == (1, 1)
    assert model.theta.tobytes() == kept[1] != kept[2]


def test_early_stopping_knows_which_way_accuracy_goes_and_warns_when_nothing_is_logged():
    assert feed(callbacks.EarlyStopping("accuracy"), network(), [0.1, 0.2, 0.2], "accuracy") == [
        0,
        1,
        2,
    ]
    name = "sparse_categorical_accuracy"
    model = network(metrics=[name])
    assert feed(callbacks.EarlyStopping(name), model, [0.1, 0.2, 0.2], name) == [0, 1, 2]
    with pytest.warns(UserWarning, match="'val_accuracy' is not among accuracy, loss"):
        network().fit(X, Y, verbose=0, callbacks=[callbacks.EarlyStopping("val_accuracy")])


def test_a_schedule_sets_the_rate_before_each_epoch_and_logs_it():
    model = network(optimizer=optimizers.SGD(0.5))
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[schedule]).history
    assert history["learning_rate"] == [0.25, 0.125, 0.0625]
    old = callbacks.LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1))
    assert model.fit(X, Y, epochs=2, verbose=0, callbacks=old).history["learning_rate"] == [
        0.1,
        0.2,
    ]
    with pytest.raises(ValueError, match="the schedule gave 1: expected a float"):
        model.fit(X, Y, verbose=0, callbacks=callbacks.LearningRateScheduler(lambda e, r: 1))


def test_a_csv_log_has_a_row_an_epoch_and_na_where_nothing_was_logged(tmp_path):
    path = tmp_path / "log.csv"
    model = network()
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[callbacks.CSVLogger(path)]).history
    model.fit(
        X,
        Y,
        epochs=3,
        initial_epoch=2,
        verbose=0,
        callbacks=[callbacks.CSVLogger(str(path), append=True)],
    )
    rows = list(csv.DictReader(path.open(newline="")))
    assert list(rows[0]) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["loss"]) for row in rows[:2]] == history["loss"]
    assert {row["val_loss"] for row in rows} == {"NA"}
    model.fit(X, Y, verbose=0, callbacks=[callbacks.CSVLogger(path, separator=";")])
    assert len(path.read_text().splitlines()) == 2
    assert path.read_text().startswith("epoch;accuracy;loss")


def test_a_history_of_ones_own_is_the_one_that_fit_returns():
    own = callbacks.History()
    assert network().fit(X, Y, verbose=0, callbacks=[own]) is own
    assert len(own.history["loss"]) == 1


def test_a_callback_that_raises_stops_fit_and_leaves_a_model_that_still_trains():
    model = network()

    def fail(epoch, logs):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        model.fit(X, Y, verbose=0, callbacks=callbacks.LambdaCallback(on_epoch_end=fail))
    assert model.optimizer.iterations == 1
    assert len(model.fit(X, Y, verbose=0).history["loss"]) == 1


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_a_forward_of_ones_own_is_what_predict_and_evaluate_run(engine):
    """A compiled call must not stand in for code that somebody has replaced."""

    class Halved(Sequential):
        def forward(self, X, params, engine):
            return super().forward(X / 2, params, engine)

    stack = [Input((4,)), layers.Dense(3, "tanh"), layers.Dense(2)]
    model = Halved(stack, seed=0)
    model.compile("sgd", "mse", engine=engine)
    plain = Sequential([Input((4,)), layers.Dense(3, "tanh"), layers.Dense(2)], seed=0)
    plain.compile("sgd", "mse", engine="reference")
    x, y = np.ones((5, 4)), np.zeros((5, 2))
    assert np.array_equal(model.predict(x), plain.predict(x / 2))
    assert model.evaluate(x, y, verbose=0) == plain.evaluate(x / 2, y, verbose=0)

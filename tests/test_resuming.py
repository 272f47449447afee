"""A fit that is cut off and called again ends in the bits of one that never was."""

from __future__ import annotations

import copy
import json
import signal
import warnings

import numpy as np
import pytest

from scratchnet import Input, Sequential, callbacks, config, layers, optimizers, saving
from scratchnet.saving import SavedStateError

RNG = np.random.default_rng(8)
X = RNG.normal(size=(70, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 70)
EPOCHS, SIZE, BATCHES = 4, 8, 9
LOSS = "sparse_categorical_crossentropy"
OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "sgd": lambda: optimizers.SGD(0.1),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optimizers.RMSprop(momentum=0.5, centered=True),
}


def network(optimizer="adam", metrics=("accuracy",), frozen=False):
    stack = [Input((6,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")]
    model = Sequential(stack, seed=3)
    model.layers[0].trainable = not frozen
    model.compile(OPTIMIZERS[optimizer](), LOSS, metrics=list(metrics))
    return model


class CutOffError(Exception):
    """What stands for a kill: nothing is written after it."""


class Cut(callbacks.BackupAndRestore):
    """A backup whose process ends right after checkpoint number `at`."""

    def __init__(self, folder, at=None, **options):
        super().__init__(folder, **options)
        self.at = at

    def save(self, state):
        super().save(state)
        self.at = None if self.at is None else self.at - 1
        if self.at == 0:
            raise CutOffError


def fit(model, given=(), **options):
    options = {"epochs": EPOCHS, "batch_size": SIZE, "validation_data": (X[:20], Y[:20])} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, Y, verbose=0, callbacks=list(given), **options)


def bits(model, history):
    """All that a training leaves, and that the next step depends on."""
    return {
        "theta": model.theta.tobytes(),
        "slots": {name: slot.tobytes() for name, slot in model.optimizer.slots.items()},
        "iterations": model.optimizer.iterations,
        "rate": model.optimizer.learning_rate,
        "rng": json.dumps(model.rng.bit_generator.state),
        "history": history.history,
        "epochs": history.epoch,
        "answers": model.predict(X, verbose=0).tobytes(),
    }


def interrupted(folder, cuts, make, others=lambda: [], **options):
    """The bits of a training that is killed after each of `cuts` checkpoints, and goes on."""
    freq = options.pop("save_freq", 1)
    for at in cuts:
        with pytest.raises(CutOffError):
            fit(make(), [*others(), Cut(folder, at, save_freq=freq)], **options)
    model = make()
    return bits(model, fit(model, [*others(), Cut(folder, save_freq=freq)], **options))


def whole(make, others=lambda: [], **options):
    model = make()
    return bits(model, fit(model, others(), **options))


@pytest.mark.parametrize(
    "cuts", [(1,), (BATCHES,), (BATCHES + 1,), (5, 3, 11), (BATCHES * EPOCHS,)]
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_whenever_it_is_cut_off_it_ends_in_the_same_bits(optimizer, cuts, tmp_path, engine):
    def make():
        return network(optimizer)

    assert interrupted(tmp_path / "b", cuts, make) == whole(make)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": False},
        {"steps_per_epoch": 4},
        {"steps_per_epoch": 4, "shuffle": False},
        {"validation_split": 0.2, "validation_data": None},
        {"sample_weight": np.linspace(0.5, 2, 70)},
        {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    ],
    ids=str,
)
def test_however_fit_is_called(options, tmp_path, engine):
    for cuts in ((2,), (7, 4)):
        assert interrupted(tmp_path / "b", cuts, network, **options) == whole(network, **options)


@pytest.mark.parametrize("freq", [2, 5, "epoch"])
def test_however_often_it_is_written(freq, tmp_path, engine):
    got = interrupted(tmp_path / "b", (1, 2), network, save_freq=freq)
    assert got == whole(network)


@pytest.mark.parametrize("metric", ["accuracy", "mae", "mse"])
def test_running_metrics_go_on(metric, tmp_path, engine):
    def make():
        model = network()
        model.compile("adam", "mse", metrics=[metric])
        return model

    y = np.eye(3, dtype=np.float32)[Y]

    def run(given):
        model = make()
        history = model.fit(X, y, 8, epochs=2, verbose=0, callbacks=given)
        return bits(model, history)

    with pytest.raises(CutOffError):
        run([Cut(tmp_path / "b", 13, save_freq=1)])
    assert run([Cut(tmp_path / "b", save_freq=1)]) == run([])


def test_what_other_callbacks_remember_is_kept(tmp_path, engine):
    def others():
        return [
            callbacks.EarlyStopping("loss", patience=2, min_delta=0.05, restore_best_weights=True),
            callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.5, min_delta=0.02),
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        ]

    for cuts in ((3,), (BATCHES,), (20, 5), (2, 2, 2, 2, 2, 2)):
        got = interrupted(tmp_path / "b", cuts, network, others, epochs=8)
        assert got == whole(network, others, epochs=8)
    assert len(got["epochs"]) < 8  # it has stopped


def test_what_callbacks_of_one_s_own_remember_is_kept(tmp_path):
    class Count(callbacks.Callback):
        remembered = ("seen", "mean")

        def __init__(self):
            self.seen, self.mean = [], np.zeros(2)

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append({"epoch": epoch, "worst": float("inf"), "loss": logs["loss"]})
            self.mean = self.mean + epoch

    def run(given, own):
        fit(network(), [own, *given])
        return own.seen, own.mean.tolist()

    with pytest.raises(CutOffError):
        run([Cut(tmp_path, 20, save_freq=1)], Count())
    assert run([Cut(tmp_path, save_freq=1)], Count()) == run([], Count())


def test_frozen_layers_and_those_frozen_midway(tmp_path, engine):
    class Freeze(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.layers[0].trainable = epoch != 1

    for others in (list, lambda: [Freeze()]):
        for cuts in ((3,), (12, 2), (19,)):
            got = interrupted(tmp_path / "b", cuts, network, others)
            assert got == whole(network, others)

    def make():
        return network(frozen=True)

    assert interrupted(tmp_path / "b", (3, 12), make) == whole(make)


ASKING = {
    "batch normalization": ([layers.BatchNormalization], "adam"),
    "dropout": ([lambda: layers.Dropout(0.3)], "adam"),
    "noise": ([lambda: layers.GaussianNoise(0.3)], "adam"),
    "a regularizer": ([lambda: layers.Dense(4, "relu", kernel_regularizer="l2")], "sgd"),
    "both": ([layers.BatchNormalization, lambda: layers.Dropout(0.5)], "nadam"),
    "averages": ([], optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=5)),
    "a schedule": ([], optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 5, 0.9))),
}


@pytest.mark.parametrize("case", ASKING)
def test_layers_that_draw_or_keep_statistics_go_on(case, tmp_path):
    """A layer that is made anew draws another key: the checkpoint has the right one."""
    between, optimizer = ASKING[case]
    first = []

    def make():
        own = copy.deepcopy(optimizer)
        stack = [Input((6,)), layers.Dense(5, "relu"), *(layer() for layer in between)]
        model = Sequential([*stack, layers.Dense(3, "softmax")], seed=3)
        model.compile(own, LOSS, metrics=["accuracy"])
        keys = [getattr(layer, "key", None) for layer in model.layers]
        if len(first) < 2:  # the one that is never cut off, and the one that is
            first.append(keys)
            for layer, key in zip(model.layers, first[0], strict=True):
                if key is not None:
                    layer.key = key
        return model

    uncut = whole(make)
    assert interrupted(tmp_path / "b", (13,), make, save_freq=2) == uncut


def test_ctrl_c_leaves_a_checkpoint_of_the_batch_that_it_ended_with(tmp_path, engine):
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 13:
                signal.raise_signal(signal.SIGINT)

    keep = callbacks.BackupAndRestore(tmp_path / "b", save_freq=False)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), [Stop(), keep])
    assert saving.load(keep.file).config["iterations"] == 13
    model = network()
    assert bits(model, fit(model, [keep])) == whole(network)


def test_ctrl_c_while_it_validates(tmp_path, engine):
    class Stop(callbacks.Callback):
        def on_test_begin(self, logs=None):
            if self.model.optimizer.iterations == 2 * BATCHES:
                signal.raise_signal(signal.SIGINT)

    keep = callbacks.BackupAndRestore(tmp_path / "b", save_freq=False)
    model = network()
    with pytest.raises(KeyboardInterrupt):
        fit(model, [Stop(), keep])
    model = network()
    assert bits(model, fit(model, [keep])) == whole(network)


def test_another_engine_goes_on(tmp_path):
    config.set_engine("compiled")
    with pytest.raises(CutOffError):
        fit(network(), [Cut(tmp_path / "b", 5, save_freq=1)])
    config.set_engine("reference")
    model = network()
    fit(model, [Cut(tmp_path / "b", save_freq=1)])
    same = network()
    fit(same)
    assert model.optimizer.iterations == same.optimizer.iterations
    np.testing.assert_allclose(model.theta, same.theta, rtol=2e-4, atol=2e-6)


def test_other_thread_counts_go_on_in_the_same_bits(tmp_path):
    def make(threads):
        def made():
            model = network()
            model.compile("adam", LOSS, metrics=["accuracy"], engine="compiled", threads=threads)
            return model

        return made

    with pytest.raises(CutOffError):
        fit(make(1)(), [Cut(tmp_path / "b", 5, save_freq=1)])
    model = make(2)()
    assert bits(model, fit(model, [Cut(tmp_path / "b", save_freq=1)])) == whole(make(1))


# --- files ----------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_training_is_refused_and_nothing_moves(tmp_path):
    with pytest.raises(CutOffError):
        fit(network(), [Cut(tmp_path, 5, save_freq=1)])
    wide = Sequential([Input((6,)), layers.Dense(7), layers.Dense(3, "softmax")], seed=3)
    wide.compile("adam", LOSS, metrics=["accuracy"])
    for model, options, said in [
        (wide, {}, "layers"),
        (network("sgd"), {}, "optimizer"),
        (network(), {"batch_size": 16}, "batch_size"),
        (network(), {"shuffle": False}, "shuffle"),
        (network(), {"validation_split": 0.5, "validation_data": None}, "samples"),
        (network(), {"sample_weight": np.ones(70)}, "data"),
    ]:
        before = model.theta.tobytes()
        with pytest.raises(SavedStateError, match=f"latest.npz.*{said}.*delete the file"):
            fit(model, [callbacks.BackupAndRestore(tmp_path, save_freq=1)], **options)
        assert model.theta.tobytes() == before
    with pytest.raises(SavedStateError, match="callbacks none, and this fit has EarlyStopping"):
        fit(network(), [callbacks.EarlyStopping("loss"), callbacks.BackupAndRestore(tmp_path)])


@pytest.mark.parametrize("double", [False, True])
def test_a_torn_checkpoint_is_refused_or_the_one_before_is_taken(double, tmp_path):
    options = {"save_freq": 1, "double_checkpoint": double}
    with pytest.raises(CutOffError):
        fit(network(), [Cut(tmp_path, 5, **options)])
    keep = callbacks.BackupAndRestore(tmp_path, **options)
    keep.file.write_bytes(keep.file.read_bytes()[:-400])
    model = network()
    if double:
        assert bits(model, fit(model, [keep])) == whole(network)
    else:
        with pytest.raises(SavedStateError, match=r"latest\.npz"):
            fit(model, [keep])


@pytest.mark.parametrize("field", ["epoch", "batch", "slots", "rng", "rows", "callbacks", "meters"])
@pytest.mark.parametrize("value", [None, -1, "x", [1, 2, 3], {"a": 1}])
def test_a_checkpoint_with_another_field_is_refused_by_an_error_of_ours(field, value, tmp_path):
    with pytest.raises(CutOffError):
        fit(network(), [Cut(tmp_path, 5, save_freq=1)])
    keep = callbacks.BackupAndRestore(tmp_path, save_freq=1)
    state = saving.load(keep.file)
    if field == "rows" and value is None:
        return  # that is one of an epoch whose rows are still to be drawn
    saving.save(keep.file, saving.State(state.config | {field: value}, state.arrays))
    model = network()
    before = model.theta.tobytes()
    with pytest.raises(SavedStateError, match=r"latest\.npz"):
        fit(model, [keep])
    assert model.theta.tobytes() == before


def stopping():
    return callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)


OTHERWISE = {
    "a history that is a text": lambda c: c.update(history="x"),
    "a column that is a number": lambda c: c["history"].update(loss=1.5),
    "an epoch that is none": lambda c: c.update(epochs=["x"]),
    "steps beyond counting": lambda c: c.update(iterations=10**40),
    "a flag for fewer layers": lambda c: c["trainable"].pop(),
    "a flag that is a number": lambda c: c["trainable"].__setitem__(0, 1),
    "an attribute that is no number of the optimizer": lambda c: c["optimizer"].update(step=1),
    "a method of the optimizer": lambda c: c["optimizer"].update(name="x"),
    "a rate that is a text": lambda c: c["optimizer"].update(learning_rate="x"),
    "slots of the last layer, counted from behind": lambda c: c.update(slot_layers=[0, -1]),
    "a place in the rows that is no whole number": lambda c: c["rows"].update(start=1.5),
    "a callback that remembers more": lambda c: c["callbacks"][0][1].update(model=1),
    "a callback that remembers less": lambda c: c["callbacks"][0][1].pop("best"),
    "a callback's text for a number": lambda c: c["callbacks"][0][1].update(best="x"),
    "a callback's count below 0": lambda c: c["callbacks"][0][1].update(wait=-1),
    "weights that are others": lambda c: c["callbacks"][0][1]["best_weights"].pop(),
    "weights that are a text": lambda c: c["callbacks"][0][1].update(best_weights="x"),
    "key of a layer that has none": lambda c: c["keys"].__setitem__(0, 3),
    "meters of fewer metrics": lambda c: c["meters"].pop(),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_a_checkpoint_that_says_otherwise_is_refused_before_training(case, tmp_path):
    """Nothing in it may surface as another error in mid-training, or reach an attribute that a
    checkpoint has no business with."""
    with pytest.raises(CutOffError):
        fit(network(), [stopping(), Cut(tmp_path, 13, save_freq=1)])
    keep = callbacks.BackupAndRestore(tmp_path, save_freq=1)
    state = saving.load(keep.file)
    OTHERWISE[case](state.config)
    saving.save(keep.file, state)
    model = network()
    with pytest.raises(SavedStateError, match=r"latest\.npz"):
        fit(model, [stopping(), keep])
    assert model.optimizer.iterations in (0, 13)

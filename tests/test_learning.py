"""Frozen layers stand still, and an optimizer serves the variables that it was built for.

What live Keras does is in `tests/keras/test_state.py`; here is what needs no Keras: both engines,
every way to train, and bits.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

from scratchnet import Input, Sequential, callbacks, layers, models, optimizers
from scratchnet.learning import slots_by_layer

RNG = np.random.default_rng(5)
X = RNG.normal(size=(48, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 48)
LOSS = "sparse_categorical_crossentropy"
OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
}


def network(optimizer="adam", frozen=(), seed=0):
    stack = [layers.Dense(5, "relu"), layers.Dense(4, "tanh"), layers.Dense(3, "softmax")]
    model = Sequential([Input((6,)), *stack], seed=seed)
    for i in frozen:
        model.layers[i].trainable = False
    model.compile(OPTIMIZERS.get(optimizer, lambda: optimizer)(), LOSS, metrics=["accuracy"])
    return model


def moved(model, before):
    """For each layer whether its weights are other ones."""
    after = model.get_weights()
    return [not np.array_equal(before[2 * i], after[2 * i]) for i in range(len(after) // 2)]


WAYS_TO_TRAIN = {
    "fit": lambda model: model.fit(X, Y, batch_size=16, epochs=2, verbose=0),
    "fit with a callback for batches": lambda model: model.fit(
        X, Y, verbose=0, callbacks=[callbacks.LambdaCallback(on_train_batch_end=print_nothing)]
    ),
    "train_on_batch": lambda model: model.train_on_batch(X, Y),
    "train_step": lambda model: model.train_step(model.batch(X, Y)),
    "fit with weights": lambda model: model.fit(X, Y, sample_weight=np.ones(48), verbose=0),
}


def print_nothing(batch, logs):
    pass


@pytest.mark.parametrize("way", WAYS_TO_TRAIN)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1), (0, 2)])
def test_frozen_layers_stand_still_and_the_others_move_as_without_them(
    frozen, optimizer, way, engine
):
    model = network(optimizer, frozen)
    before = model.get_weights()
    WAYS_TO_TRAIN[way](model)
    assert moved(model, before) == [i not in frozen for i in range(3)]
    slots = model.optimizer.slots
    learned = sum(w.size for w in model.trainable_weights)
    assert all(slot.size == learned for slot in slots.values())
    assert learned + sum(w.size for w in model.non_trainable_weights) == model.count_params()

    # The same step where everything learns moves the same layers to the same bits, at first.
    one, whole = network(optimizer, frozen), network(optimizer)
    for net in (one, whole):
        net.train_step(net.batch(X, Y))
    for i in range(3):
        assert np.array_equal(one.layers[i].kernel, whole.layers[i].kernel) == (i not in frozen)


def test_a_frozen_model_trains_the_same_on_both_engines():
    trained = {}
    for name in ("reference", "compiled"):
        model = network(frozen=(1,))
        model.compile(model.optimizer, LOSS, metrics=["accuracy"], engine=name)
        fitted = model.fit(X, Y, batch_size=10, epochs=3, verbose=0, validation_split=0.25)
        history = fitted.history
        trained[name] = model.theta.tobytes(), history["loss"], history["accuracy"]
        assert history["val_loss"][-1] == pytest.approx(model.evaluate(X[36:], Y[36:])[0])
    assert trained["reference"] == trained["compiled"]  # they are stepped by the same functions


def test_trainable_changes_count_from_the_next_batch_on(engine):
    model = network()
    model.fit(X, Y, verbose=0)
    momentum = model.optimizer.slots["momentum"].copy()
    first = model.layers[0].count_params()
    model.layers[0].trainable = False  # after compile and fit
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    assert moved(model, before) == [False, True, True]
    assert np.array_equal(
        slots_by_layer(model.optimizer)[model.layers[0]]["momentum"], momentum[:first]
    )
    model.layers[0].trainable = True  # its slots were kept for it
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    assert moved(model, before) == [True, True, True]
    assert not np.array_equal(model.optimizer.slots["momentum"][:first], momentum[:first])


def test_a_callback_that_freezes_does_so_from_the_next_batch_on(engine):
    class Freeze(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.layers[1].trainable = epoch != 1
            if epoch == 1:
                self.before = self.model.get_weights()

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.moved = moved(self.model, self.before)

    model, freeze = network(), Freeze()
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[freeze])
    assert freeze.moved == [True, False, True]
    assert moved(model, freeze.before) == [True, True, True]


def test_unfreezing_what_the_optimizer_was_not_built_for_is_refused(engine):
    model = network(frozen=(0,))
    model.fit(X, Y, verbose=0)
    model.layers[0].trainable = True
    at = model.theta.copy()
    with pytest.raises(
        ValueError, match=r"Unknown variable.*'dense'.*compile with a new optimizer"
    ):
        model.fit(X, Y, verbose=0)
    assert np.array_equal(model.theta, at)
    model.compile("adam", LOSS)
    model.fit(X, Y, verbose=0)


def test_a_model_of_frozen_layers_says_so_and_takes_no_step(engine):
    model = network()
    model.trainable = False
    assert [layer.trainable for layer in model.layers] == [False] * 3
    assert model.trainable_weights == [] and len(model.non_trainable_weights) == 6
    at = model.theta.copy()
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        model.fit(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        model.train_on_batch(X, Y)
    assert np.array_equal(model.theta, at) and model.optimizer.iterations == 0
    model.layers[1].trainable = True  # as in Keras, the model has the last word
    assert model.trainable_weights == []
    model.trainable = True
    model.compile("adam", LOSS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, Y, verbose=0)
    assert not np.array_equal(model.theta, at)


@pytest.mark.parametrize("built", [True, False])
def test_frozen_by_argument(built, engine):
    head = [Input((6,))] if built else []
    model = Sequential([*head, layers.Dense(4, trainable=False), layers.Dense(3, "softmax")])
    model.compile("adam", LOSS)
    model.build((None, 6))
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    assert moved(model, before) == [False, True]
    still = Sequential([*head, layers.Dense(3, "softmax")], trainable=False)
    assert not still.trainable and still.layers[0].trainable and still.trainable_weights == []


def test_gradients_are_those_of_what_learns(engine):
    model, whole = network(frozen=(1,)), network()
    loss, gradients = model.loss_and_gradients(X, Y)
    expected, all_gradients = whole.loss_and_gradients(X, Y)
    assert loss == expected and len(gradients) == 4
    for gradient, other in zip(gradients, all_gradients[:2] + all_gradients[4:], strict=True):
        assert np.array_equal(gradient, other)


def test_the_summary_counts_what_learns(capsys):
    model = network(frozen=(0,))
    model.summary(show_trainable=True)
    text = capsys.readouterr().out
    assert " Total params: 74 (296.00 B)\n Trainable params: 39 (156.00 B)\n" in text
    assert " Non-trainable params: 35 (140.00 B)\n" in text and "Optimizer" not in text
    assert [line.split()[-2] for line in text.splitlines() if "Dense" in line] == ["N", "Y", "Y"]
    model.fit(X, Y, verbose=0)
    model.summary()
    text = capsys.readouterr().out
    assert " Total params: 154 (620.00 B)\n" in text
    assert " Optimizer params: 80 (324.00 B)\n" in text


@pytest.mark.parametrize("file", ["m.npz", "m.keras"])
@pytest.mark.parametrize("frozen", [(), (0,), (1, 2)])
def test_a_saved_model_is_frozen_as_before_and_goes_on_alike(frozen, file, tmp_path, engine):
    model = network(frozen=frozen)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / file)
    again = models.load_model(tmp_path / file)
    assert [layer.trainable for layer in again.layers] == [i not in frozen for i in range(3)]
    for net in (model, again):
        net.fit(X, Y, verbose=0)
    assert again.theta.tobytes() == model.theta.tobytes()


def test_slots_that_rest_are_saved_too(tmp_path, engine):
    model = network()
    model.fit(X, Y, verbose=0)
    model.layers[0].trainable = False
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.npz")
    again = models.load_model(tmp_path / "m.npz")
    for net in (model, again):
        net.layers[0].trainable = True
        net.fit(X, Y, verbose=0)
    assert again.theta.tobytes() == model.theta.tobytes()


# --- one optimizer, other variables ---------------------------------------------------------------


def refused(model, *, layer="dense"):
    """`fit` and `train_on_batch` refuse the optimizer, and nothing has moved."""
    at, slots = model.theta.copy(), copy.deepcopy(model.optimizer.slots)
    steps, generator = model.optimizer.iterations, str(model.rng.bit_generator.state)
    for train in (
        lambda: model.fit(X, Y, verbose=0),
        lambda: model.train_on_batch(X, Y),
        lambda: model.train_step(model.batch(X, Y)),
    ):
        with pytest.raises(
            ValueError, match=f"Unknown variable.*layer '{layer}'.*originally built"
        ):
            train()
    assert np.array_equal(model.theta, at) and model.optimizer.iterations == steps
    assert str(model.rng.bit_generator.state) == generator
    assert all(np.array_equal(slots[name], s) for name, s in model.optimizer.slots.items())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_optimizer_in_two_models_is_refused_by_the_second(optimizer, engine):
    shared = OPTIMIZERS[optimizer]()
    first, second = network(), network()
    for model in (first, second):
        model.compile(shared, LOSS)
    first.fit(X, Y, verbose=0)
    refused(second)
    first.fit(X, Y, verbose=0)  # and goes on serving the first
    second.compile(OPTIMIZERS[optimizer](), LOSS)
    second.fit(X, Y, verbose=0)


def test_an_optimizer_is_refused_in_every_fold_but_the_first(engine):
    adam = optimizers.Adam()
    for fold in range(3):
        model = network(seed=fold)  # the one before it is collected, and that makes no difference
        model.compile(adam, LOSS)
        if fold:
            refused(model)
        else:
            model.fit(X, Y, verbose=0)


def test_another_architecture_with_as_many_parameters_is_refused(engine):
    adam = optimizers.Adam()
    wide = Sequential([Input((6,)), layers.Dense(3, "softmax")])
    wide.compile(adam, LOSS)
    wide.fit(X, Y, verbose=0)
    other = Sequential([Input((6,)), layers.Dense(2, use_bias=False), layers.Dense(3, "softmax")])
    assert other.count_params() == wide.count_params()
    other.compile(adam, LOSS)
    refused(other)


def test_a_copy_refuses_the_optimizer_of_its_original(engine):
    model = network()
    model.fit(X, Y, verbose=0)
    twin = copy.deepcopy(model)
    twin.compile(model.optimizer, LOSS)
    refused(twin)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pop_goes_on_with_the_old_optimizer_and_a_new_layer_does_not(optimizer, engine):
    model = network(optimizer)
    model.fit(X, Y, verbose=0)
    kept = {name: slot.copy() for name, slot in model.optimizer.slots.items()}
    top = model.pop()
    model.fit(X, Y % 4, verbose=0)  # the tanh layer of 4 is on top now
    assert all(slot.size == model.count_params() for slot in model.optimizer.slots.values())
    size = model.count_params()
    resting = slots_by_layer(model.optimizer)[top]
    assert all(np.array_equal(resting[name], kept[name][size:]) for name in kept)
    model.add(layers.Dense(3, "softmax", name="fresh"))
    refused(model, layer="fresh")
    model.pop()
    model.add(top)  # with its weights and its slots
    steps = model.optimizer.iterations
    model.fit(X, Y, verbose=0)
    assert model.optimizer.iterations == steps + 2


def test_the_same_model_goes_on_with_its_optimizer_after_compile(engine):
    model, other = network(), network()
    for net in (model, other):
        net.fit(X, Y, verbose=0)
    model.compile(model.optimizer, LOSS, metrics=["accuracy"])
    assert model.optimizer.iterations == 2
    for net in (model, other):
        net.fit(X, Y, verbose=0)
    assert model.theta.tobytes() == other.theta.tobytes() and model.optimizer.iterations == 4


def test_an_optimizer_serves_whoever_comes_first(engine):
    adam = optimizers.Adam()
    first, second = network(), network()
    for model in (first, second):
        model.compile(adam, LOSS)
    second.fit(X, Y, verbose=0)
    refused(first)


def test_in_the_middle_of_a_fit_a_foreign_optimizer_is_refused_too(engine):
    other = network()
    other.fit(X, Y, verbose=0)

    class Swap(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer = other.optimizer

    model = network()
    with pytest.raises(ValueError, match="originally built with"):
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[Swap()])

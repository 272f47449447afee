"""Callbacks beside live Keras: every event, what it is told, and what it may change in mid-fit."""

from __future__ import annotations

import json
import warnings

import keras
import numpy as np
import pytest

import scratchnet
from scratchnet import callbacks, config

RNG = np.random.default_rng(6)
N = 40
X = RNG.normal(size=(N, 3))
Y = RNG.integers(0, 4, N)
ROOMS = (keras, scratchnet, scratchnet)
"""Keras, then ours on the reference engine and on the compiled one."""
EVENTS = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]

pytestmark = pytest.mark.usefixtures("float64_in_both")


def trio(optimizer=lambda room: room.optimizers.SGD(0.1), eager=False, **asked):
    """The same compiled model in Keras and on both engines."""
    models = []
    for room in ROOMS:
        hidden = room.layers.Dense(5, "tanh")
        model = room.Sequential([room.Input((3,)), hidden, room.layers.Dense(4, "softmax")])
        models.append(model)
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=w.shape) for w in models[0].get_weights()]
    for room, model, engine in zip(ROOMS, models, (None, "reference", "compiled"), strict=True):
        model.set_weights(weights)
        options = {"metrics": ["accuracy"], "run_eagerly": eager} | asked
        options |= {} if engine is None else {"engine": engine}
        model.compile(optimizer(room), "sparse_categorical_crossentropy", **options)
    return models


SETTINGS = {"batch_size": 10, "epochs": 3, "verbose": 0, "shuffle": False}


def fitted(models, made, **settings):
    """A fit of each with the callbacks that `made` makes for its room."""
    return [
        model.fit(X, Y, **SETTINGS | {"callbacks": made(room)} | settings)
        for room, model in zip(ROOMS, models, strict=True)
    ]


def same_weights(models):
    theirs, *both = (np.concatenate([w.ravel() for w in model.get_weights()]) for model in models)
    for ours in both:
        assert np.allclose(ours, theirs, rtol=1e-11, atol=1e-12)


def same_logs(logs):
    theirs, *both = logs
    for ours in both:
        assert list(ours) == list(theirs)
        for key in theirs:
            assert np.allclose(ours[key], theirs[key], rtol=1e-11, atol=1e-12), key


def same(histories):
    same_logs([history.history for history in histories])
    assert len({tuple(history.epoch) for history in histories}) == 1


def at(room, event, act, *when):
    """A callback that acts in one event, at these indices or always."""
    callback = room.callbacks.Callback()
    inherited = getattr(callback, event)

    def method(*arguments, logs=None):
        index = arguments[0] if arguments and not isinstance(arguments[0], dict) else None
        if not when or index in when:
            act(callback.model)
        inherited(*arguments) if logs is None else inherited(*arguments, logs=logs)

    setattr(callback, event, method)
    return callback


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [event for event in EVENTS if "predict" not in event])
def test_who_asks_to_stop_in_any_event_stops_after_kerass_number_of_steps(event):
    def ask(model):
        model.stop_training = True

    for when in ((), (1,)):
        models = trio()

        def stop(room, when=when):
            return [at(room, event, ask, *when)]

        same(fitted(models, stop, validation_data=(X, Y)))
        same_weights(models)
        assert len({int(model.optimizer.iterations) for model in models}) == 1


@pytest.mark.parametrize("event", [event for event in EVENTS if "test" in event])
@pytest.mark.parametrize("alone", [True, False])
def test_who_asks_to_stop_evaluating_gets_kerass_numbers(event, alone):
    models = trio()

    def stop(room):
        return [at(room, event, lambda model: setattr(model, "stop_evaluating", True))]

    if not alone:
        same(fitted(models, stop, validation_data=(X, Y)))
        return
    found = [
        model.evaluate(X, Y, batch_size=7, verbose=0, callbacks=stop(room), return_dict=True)
        for room, model in zip(ROOMS, models, strict=True)
    ]
    same_logs(found)


@pytest.mark.parametrize("event", [event for event in EVENTS if "predict" in event])
def test_who_asks_to_stop_predicting_gets_kerass_outputs(event):
    theirs, *both = (
        model.predict(
            X,
            batch_size=7,
            verbose=0,
            callbacks=[at(room, event, lambda model: setattr(model, "stop_predicting", True))],
        )
        for room, model in zip(ROOMS, trio(), strict=True)
    )
    for ours in both:
        assert ours.shape == theirs.shape
        assert np.allclose(ours, theirs, rtol=1e-12)


# --- what is told ---------------------------------------------------------------------------------


def listener(room, events):
    """Every event with its arguments, positional or by keyword, and the types of what is logged."""
    heard = []
    listening = room.callbacks.Callback()
    for event in events:

        def method(*arguments, event=event, **logs):
            told = next((a for a in (*arguments, *logs.values()) if isinstance(a, dict)), None)
            kinds = told and {k: getattr(v, "shape", type(v)) for k, v in told.items()}
            index = [a for a in arguments if not isinstance(a, dict)]
            heard.append((event, index, sorted(logs), kinds))

        setattr(listening, event, method)
    return listening, heard


@pytest.mark.parametrize("events", [EVENTS, *([event] for event in EVENTS)], ids=str)
def test_every_event_alone_and_all_together_are_told_what_keras_tells(events):
    heard = []
    for room, model in zip(ROOMS, trio(), strict=True):
        listening, found = listener(room, events)
        model.fit(X, Y, 16, 2, 0, [listening], validation_data=(X, Y), validation_batch_size=25)
        model.evaluate(X, Y, 15, verbose=0, callbacks=[listening])
        model.predict(X, 15, verbose=0, callbacks=[listening])
        heard.append(found)
    assert heard[1] == heard[2] == heard[0]


def test_the_numbers_of_each_batch_are_kerass_running_means():
    told = []
    for room, model in zip(ROOMS, trio(), strict=True):
        seen = []
        watch = room.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, seen=seen: seen.append((batch, dict(logs))),
            on_test_batch_end=lambda batch, logs, seen=seen: seen.append((batch, dict(logs))),
            on_epoch_end=lambda epoch, logs, seen=seen: seen.append((epoch, dict(logs))),
        )
        model.fit(X, Y, **SETTINGS, callbacks=[watch], validation_split=0.4)
        told.append(seen)
    assert len(told[1]) == 3 * (3 + 2 + 1)
    for each in zip(*told, strict=True):
        assert len({index for index, _ in each}) == 1
        same_logs([logs for _, logs in each])
        assert {type(value) for value in each[1][1].values()} == {float}


def test_kerass_own_example_of_lambda_callbacks_runs(tmp_path, capsys):
    """The docstring of Keras's LambdaCallback, all three of its callbacks."""
    logged = []
    for room, model in zip(ROOMS, trio(), strict=True):
        path = tmp_path / f"{len(logged)}.json"
        log = path.open("w", buffering=1)
        finished = []
        model.fit(
            X,
            Y,
            **SETTINGS,
            callbacks=[
                room.callbacks.LambdaCallback(
                    on_train_batch_begin=lambda batch, logs: print(batch)
                ),
                room.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs, log=log: log.write(
                        json.dumps({"epoch": epoch, "loss": logs["loss"]}) + "\n"
                    ),
                    on_train_end=lambda logs, log=log: log.close(),
                ),
                room.callbacks.LambdaCallback(
                    on_train_begin=lambda logs, f=finished: f.append(dict(logs)),
                    on_train_end=lambda logs, f=finished: f.append(sorted(logs)),
                ),
            ],
        )
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        logged.append((lines, finished, capsys.readouterr().out.split()))
    theirs, *both = logged
    for lines, ends, printed in both:
        assert printed == theirs[2]
        assert ends == theirs[1] == [{}, ["accuracy", "loss"]]
        for mine, his in zip(lines, theirs[0], strict=True):
            assert mine["epoch"] == his["epoch"]
            assert mine["loss"] == pytest.approx(his["loss"], rel=1e-11)


def test_kerass_guide_to_callbacks_runs(capsys):
    """Its custom callback, its early stopping at the minimum and its schedule of the rate."""
    said = []
    for room, model in zip(ROOMS, trio(), strict=True):

        class Guide(room.callbacks.Callback):
            def on_train_begin(self, logs=None):
                print("begin", list(logs.keys()))

            def on_epoch_begin(self, epoch, logs=None):
                print(epoch, list(logs.keys()))

            def on_train_batch_begin(self, batch, logs=None):
                print("...batch", batch, list(logs.keys()))

            def on_test_begin(self, logs=None):
                print("test", list(logs.keys()))

            def on_predict_batch_end(self, batch, logs=None):
                print("predict", batch, list(logs.keys()))

            def on_train_end(self, logs=None):
                print("end", list(logs.keys()))

        class AtMinimum(room.callbacks.Callback):
            def __init__(self, patience=0):
                super().__init__()
                self.patience, self.best_weights = patience, None

            def on_train_begin(self, logs=None):
                self.wait, self.best = 0, np.inf

            def on_epoch_end(self, epoch, logs=None):
                current = logs.get("loss")
                if np.less(current, self.best):
                    self.best, self.wait = current, 0
                    self.best_weights = self.model.get_weights()
                else:
                    self.wait += 1
                    if self.wait >= self.patience:
                        self.model.stop_training = True
                        self.model.set_weights(self.best_weights)

        class Schedule(room.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                rate = float(self.model.optimizer.learning_rate)
                self.model.optimizer.learning_rate = rate / 2
                print(f"rate {rate / 2:.6f}")

        both = [Guide(), AtMinimum(), Schedule()]
        model.fit(X, Y, **SETTINGS, callbacks=both, validation_split=0.5)
        model.predict(X, verbose=0, callbacks=[Guide()])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]


def test_callbacks_share_one_dict_of_logs_in_the_order_in_which_they_were_given():
    def made(room):
        write = room.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: logs.update(twice=2 * epoch)
        )
        read = room.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: logs.update(thrice=logs["twice"] * 1.5)
        )
        return [write, [read]]  # nested, as Keras takes it

    same(fitted(trio(), made))

    def with_history_first(room):
        return [room.callbacks.History(), *made(room)]

    models = trio()
    histories = fitted(models, with_history_first)
    same(histories)
    assert "twice" not in histories[1].history
    assert models[1].history is histories[1]


def test_a_history_is_used_again_as_in_keras():
    models = trio()[:2]
    kept = [keras.callbacks.History(), callbacks.History()]
    for _ in range(2):
        found = [
            model.fit(X, Y, **SETTINGS, callbacks=history)
            for model, history in zip(models, kept, strict=True)
        ]
        same(found)
        assert all(a is b for a, b in zip(found, kept, strict=True))
    assert len(kept[1].history["loss"]) == 6


def test_a_list_of_callbacks_may_be_kerass_callback_list_and_drives_a_loop_of_ones_own():
    heard = []
    for room, model in zip(ROOMS, trio(), strict=True):
        listening, found = listener(room, EVENTS)
        listed = room.callbacks.CallbackList([listening], add_history=True, model=model, epochs=7)
        model.fit(X, Y, **SETTINGS, callbacks=listed)
        listed.on_train_begin()
        listed.on_epoch_begin(3)
        listed.on_train_batch_begin(2)
        listed.on_train_batch_end(2, {"loss": np.float32(0.5), "a": np.int64(3)})
        listed.on_epoch_end(3, {"loss": np.float32(0.5)})
        listed.on_train_end()
        heard.append((found, listening.params["epochs"], model.history.history["loss"][-1]))
    assert [each[:2] for each in heard[1:]] == [heard[0][:2]] * 2
    assert {each[2] for each in heard} == {0.5}


def test_whatever_has_kerass_methods_is_a_callback():
    class Duck:
        def __init__(self):
            self.heard = []

        def __getattr__(self, name):
            if name in EVENTS or name in ("set_model", "set_params"):
                return lambda *arguments, **logs: self.heard.append(name)
            raise AttributeError(name)

    model = trio()[2]
    duck = Duck()
    model.fit(X, Y, **SETTINGS, callbacks=[duck])
    assert duck.heard.count("on_epoch_end") == 3
    assert duck.heard.count("on_train_batch_end") == 12
    theirs, heard = listener(keras, ["on_epoch_end", "on_train_batch_begin"])
    model.fit(X, Y, **SETTINGS, callbacks=[theirs])  # an object of Keras's own class
    assert len(heard) == 3 + 12
    for wrong in (print, 3, callbacks.EarlyStopping, "early"):
        with pytest.raises(TypeError, match="expected Callback objects"):
            model.fit(X, Y, verbose=0, callbacks=[wrong])


# --- what may be changed --------------------------------------------------------------------------

CHANGES = {
    "learning_rate": (lambda room: room.optimizers.SGD(0.1), "learning_rate", 0.7),
    "learning_rate of Adam": (lambda room: room.optimizers.Adam(0.1), "learning_rate", 0.01),
    "beta_1": (lambda room: room.optimizers.Adam(0.1), "beta_1", 0.3),
    "beta_2": (lambda room: room.optimizers.Adam(0.1), "beta_2", 0.5),
    "epsilon": (lambda room: room.optimizers.Adam(0.1), "epsilon", 0.1),
    "momentum": (lambda room: room.optimizers.SGD(0.1, momentum=0.9), "momentum", 0.25),
    "nesterov": (lambda room: room.optimizers.SGD(0.1, momentum=0.75), "nesterov", True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_number_of_the_optimizer_takes_effect_at_the_next_step(change):
    """As in Keras run eagerly; its compiled graph keeps all but the learning rate as they were."""
    optimizer, name, value = CHANGES[change]
    plain = trio(optimizer)[1].fit(X, Y, **SETTINGS).history["loss"]
    for event, when in (
        ("on_train_begin", ()),
        ("on_epoch_begin", (1,)),
        ("on_train_batch_begin", (2,)),
        ("on_train_batch_end", (1, 3)),
        ("on_epoch_end", (0,)),
        ("on_test_begin", ()),
    ):
        models = trio(optimizer, eager=name != "learning_rate")

        def made(room, event=event, when=when):
            return [at(room, event, lambda model: setattr(model.optimizer, name, value), *when)]

        changed = fitted(models, made, validation_data=(X, Y))
        same(changed)
        same_weights(models)
        assert not np.allclose(plain, changed[1].history["loss"], rtol=1e-6)


@pytest.mark.parametrize("event", ["on_epoch_begin", "on_train_batch_begin", "on_train_batch_end",
                                   "on_epoch_end", "on_test_end"])  # fmt: skip
def test_who_compiles_in_mid_fit_ends_it_in_both(event):
    for room, model in zip(ROOMS, trio(), strict=True):

        def again(model, room=room):
            model.compile(room.optimizers.SGD(0.5), "sparse_categorical_crossentropy")

        again_at = at(room, event, again, *(() if "test" in event else (1,)))
        said = "compile was called while the model trains" if room is scratchnet else "NoneType"
        with pytest.raises(TypeError, match=said):
            model.fit(X, Y, **SETTINGS, callbacks=[again_at], validation_data=(X, Y))
        assert len(model.fit(X, Y, **SETTINGS).history["loss"]) == 3  # and it trains on


def test_who_compiles_where_no_step_follows_goes_on_as_in_keras():
    models = trio()

    def made(room):
        def again(model):
            model.compile(room.optimizers.SGD(0.5), "sparse_categorical_crossentropy")

        return [at(room, "on_epoch_end", again, 2), at(room, "on_train_end", again)]

    same(fitted(models, made))
    same(fitted(models, lambda room: []))
    same_weights(models)


@pytest.mark.parametrize("event", ["on_train_batch_end", "on_epoch_end", "on_epoch_begin"])
def test_who_evaluates_and_predicts_in_mid_fit_sees_and_leaves_what_keras_does(event):
    models, seen = trio(), []

    def made(room):
        found = []
        seen.append(found)

        def look(model):
            found.append(model.evaluate(X[:20], Y[:20], verbose=0, return_dict=True))
            found.append({"first": model.predict(X[:2], verbose=0).ravel()})

        return [at(room, event, look)]

    same(fitted(models, made))
    same_weights(models)
    for each in zip(*seen, strict=True):
        same_logs(each)


def test_weights_set_in_any_event_are_those_that_train_on():
    for event in ("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end",
                  "on_epoch_end", "on_test_begin"):  # fmt: skip
        models = trio()

        def made(room, event=event):
            def halve(model):
                model.set_weights([w / 2 for w in model.get_weights()])

            return [at(room, event, halve)]

        same(fitted(models, made, validation_data=(X, Y)))
        same_weights(models)


@pytest.mark.parametrize("event", [event for event in EVENTS if "predict" not in event])
def test_an_error_in_any_event_leaves_the_same_whole_steps_on_both_engines(event):
    found = []
    for model in trio(lambda room: room.optimizers.Adam(0.01))[1:]:

        def fail(model):
            raise RuntimeError("stop here")

        when = (1,) if "batch" in event or "epoch" in event else ()
        with pytest.raises(RuntimeError, match="stop here"):
            model.fit(
                X,
                Y,
                **SETTINGS,
                callbacks=[at(scratchnet, event, fail, *when)],
                validation_data=(X, Y),
            )
        steps = model.optimizer.iterations
        weights = np.concatenate([w.ravel() for w in model.get_weights()])
        assert np.allclose(weights, model.theta)
        again = model.fit(X, Y, **SETTINGS).history
        assert model.optimizer.iterations == steps + 12
        found.append((steps, weights, again))
    (steps, weights, again), (fused_steps, fused_weights, fused_again) = found
    assert steps == fused_steps
    assert np.allclose(weights, fused_weights, rtol=1e-12, atol=1e-14)
    for key in again:
        assert np.allclose(again[key], fused_again[key], rtol=1e-10)


# --- the callbacks that come with it --------------------------------------------------------------

NUMBERS = [3, 2, 2.5, 2, 1.8, 1.9, 1.9, 1.85, 1.2, 1.3, 1.25, 1.3]


def told(room, numbers, name="watched"):
    """A callback that puts numbers into the logs."""
    return room.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update({name: numbers[epoch]})
    )


STOPPINGS = {
    "as it is": {},
    "patience": {"patience": 2},
    "max": {"mode": "max", "patience": 1},
    "min_delta": {"min_delta": 0.6, "patience": 1},
    "a negative min_delta": {"min_delta": -0.6, "patience": 1},
    "baseline": {"baseline": 1.85, "patience": 5},
    "the best back": {"restore_best_weights": True, "patience": 4, "start_from_epoch": 3},
    "start late": {"start_from_epoch": 5, "patience": 1},
    "the best back, never stopped": {"restore_best_weights": True, "patience": 50},
    "verbose": {"verbose": 1, "patience": 1, "restore_best_weights": True},
}


@pytest.mark.parametrize("case", STOPPINGS)
def test_early_stopping_ends_fit_where_keras_ends_it_with_kerass_weights(case, capsys):
    options = {"mode": "min"} | STOPPINGS[case]
    models, states, said = trio(), [], []
    histories = []
    for room, model in zip(ROOMS, models, strict=True):
        stopping = room.callbacks.EarlyStopping("watched", **options)
        settings = SETTINGS | {"epochs": len(NUMBERS), "callbacks": [told(room, NUMBERS), stopping]}
        histories.append(model.fit(X, Y, **settings))
        said.append(len(capsys.readouterr().out.splitlines()))
        state = (stopping.stopped_epoch, stopping.best_epoch, float(stopping.best), stopping.wait)
        states.append(state)
    same(histories)
    same_weights(models)
    assert states[1] == states[2] == states[0]
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize("floatx", ["float32", "float64"])
def test_early_stopping_sees_what_differs_in_float32_whatever_the_model_is(floatx):
    config.set_floatx(floatx)
    keras.config.set_floatx(floatx)
    for step, epochs in ((1e-12, 2), (1e-6, 4)):
        numbers = [1 - step * epoch for epoch in range(4)]
        found = fitted(
            trio(),
            lambda room, n=numbers: [
                told(room, n),
                room.callbacks.EarlyStopping("watched", mode="min"),
            ],
            epochs=4,
        )
        assert [len(history.epoch) for history in found] == [epochs] * 3


PLATEAUS = {
    "as it is": {"patience": 1},
    "a factor": {"factor": 0.5, "patience": 2, "min_delta": 0},
    "cooldown": {"patience": 1, "cooldown": 2},
    "a floor": {"patience": 1, "factor": 0.1, "min_lr": 0.02},
    "max": {"mode": "max", "patience": 2, "min_delta": 0.1},
    "at once": {"patience": 0},
    "verbose": {"patience": 1, "verbose": 1},
}


@pytest.mark.parametrize("case", PLATEAUS)
def test_the_rate_is_reduced_on_a_plateau_as_in_keras(case):
    options = {"mode": "min"} | PLATEAUS[case]
    models = trio()

    def made(room):
        return [told(room, NUMBERS), room.callbacks.ReduceLROnPlateau("watched", **options)]

    histories = fitted(models, made, epochs=len(NUMBERS))
    same(histories)
    same_weights(models)
    assert len(set(histories[1].history["learning_rate"])) > 1


def test_many_plateaus_are_kerass():
    class Stub:
        def __init__(self):
            self.optimizer = type("O", (), {"learning_rate": 1.0})()
            self.metrics = []

    seen = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        options = {
            "mode": str(rng.choice(["min", "max"])),
            "factor": float(rng.choice([0.1, 0.5])),
            "patience": int(rng.integers(0, 4)),
            "cooldown": int(rng.integers(0, 3)),
            "min_delta": float(rng.choice([0, 0.15])),
            "min_lr": float(rng.choice([0, 0.3])),
        }
        numbers = rng.integers(0, 10, 14) / 10
        rates = []
        for room in (keras, scratchnet):
            plateau, stub = room.callbacks.ReduceLROnPlateau("watched", **options), Stub()
            plateau.set_model(stub)
            plateau.on_train_begin()
            found = []
            for epoch, number in enumerate(numbers):
                plateau.on_epoch_end(epoch, {"watched": number})
                found.append(float(stub.optimizer.learning_rate))
            rates.append(tuple(found))
        assert rates[0] == pytest.approx(rates[1], rel=1e-6), options
        seen.add(rates[1])
    assert len(seen) > 60
    for room in (keras, scratchnet):
        with pytest.raises(ValueError, match="factor"):
            room.callbacks.ReduceLROnPlateau(factor=1.0)


def test_what_is_watched_and_not_there_is_warned_about_as_in_keras():
    for kind in ("EarlyStopping", "ReduceLROnPlateau"):
        for room, model in zip(ROOMS, trio(), strict=True):
            callback = getattr(room.callbacks, kind)("val_loss")
            with pytest.warns(UserWarning, match="val_loss"):
                model.fit(X, Y, **SETTINGS, callbacks=[callback])
        for room, model in zip(ROOMS, trio(), strict=True):
            with pytest.raises(ValueError, match="val_nothing"):
                model.fit(
                    X, Y, **SETTINGS, callbacks=[getattr(room.callbacks, kind)("val_nothing")]
                )


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_terminate_on_nan_ends_fit_quietly_or_loudly_as_in_keras(capsys):
    for value in (np.nan, np.inf):
        ends = []
        for room, model in zip(ROOMS, trio(), strict=True):
            weights = model.get_weights()
            weights[-1][0] = value
            model.set_weights(weights)
            heard = []
            watch = [
                room.callbacks.TerminateOnNaN(),
                room.callbacks.LambdaCallback(
                    on_train_batch_end=lambda b, logs, h=heard: h.append(b),
                    on_train_end=lambda logs, h=heard: h.append("end"),
                ),
            ]
            model.fit(X, Y, **SETTINGS, callbacks=watch)
            ends.append((heard, capsys.readouterr().out))
            with pytest.raises(RuntimeError):
                model.fit(X, Y, **SETTINGS, callbacks=room.callbacks.TerminateOnNaN(True))
        assert ends[0] == ends[1] == ends[2]
        assert ends[1][0] == [0, "end"]


def test_directions_are_known_of_kerass_metrics_and_asked_for_of_others():
    known = ["accuracy", "sparse_categorical_crossentropy", "loss"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in known:
            models = trio(metrics=["accuracy", "sparse_categorical_crossentropy"])
            same(fitted(models, lambda room, n=name: [room.callbacks.EarlyStopping(n)], epochs=6))
            same_weights(models)
    for model, room in zip(trio(metrics=[lambda a, b: b[:, 0]]), ROOMS, strict=True):
        with pytest.raises(ValueError, match="lambda"):
            model.fit(X, Y, **SETTINGS, callbacks=[room.callbacks.EarlyStopping("lambda")])

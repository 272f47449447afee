"""ModelCheckpoint and BackupAndRestore beside Keras's: which files there are, and when.

What a checkpoint holds is ours (`tests/test_resuming.py`).
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from scratchnet import callbacks, layers, sequential  # noqa: E402

RNG = np.random.default_rng(2)
X = RNG.normal(size=(20, 3)).astype(np.float32)
Y = RNG.normal(size=(20, 2)).astype(np.float32)
OURS = (sequential.Sequential, layers, callbacks)
THEIRS = (keras.Sequential, keras.layers, keras.callbacks)


def model_of(side, rate=0.01):
    model = side[0]([side[1].Input((3,)), side[1].Dense(2)])
    model.set_weights([np.full((3, 2), 0.3, np.float32), np.zeros(2, np.float32)])
    model.compile("sgd", "mse", metrics=["mae"])
    model.optimizer.learning_rate = rate
    return model


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def saved(side, folder, rate, arguments, fit):
    """The files after each batch and epoch of a fit with that ModelCheckpoint."""
    seen = []
    told = side[2].LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(files(folder)),
        on_epoch_end=lambda epoch, logs: seen.append(files(folder)),
    )
    name = arguments.pop("filepath")
    checkpoint = side[2].ModelCheckpoint(folder / name, **arguments)
    options = {"epochs": 3, "batch_size": 5, "validation_data": (X, Y), "shuffle": False} | fit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model_of(side, rate).fit(X, Y, verbose=0, callbacks=[checkpoint, told], **options)
    best = checkpoint.best
    return seen, None if best is None else f"{best:.4g}"


CASES = [
    {"filepath": "m.keras"},
    {"filepath": "{epoch}.keras"},
    {"filepath": "deep/er/{epoch:03d}.keras"},
    {"filepath": "{epoch:02d}-{val_loss:.1f}.keras"},
    {"filepath": "{epoch}-{loss:.1f}-{mae:.1f}.weights.h5", "save_weights_only": True},
    {"filepath": "{epoch}-{batch}.keras", "save_freq": 3},
    {
        "filepath": "{epoch}-{batch}-{loss:.1f}.weights.h5",
        "save_freq": 1,
        "save_weights_only": True,
    },
    {"filepath": "{epoch}-{batch}.keras", "save_freq": 7},
    {"filepath": "{epoch}.keras", "save_best_only": True},
    {"filepath": "{epoch}.keras", "save_best_only": True, "monitor": "mae", "mode": "max"},
    {"filepath": "{epoch}.keras", "save_best_only": True, "initial_value_threshold": 0.0},
    {"filepath": "{epoch}.keras", "save_best_only": True, "initial_value_threshold": 99.0},
    {"filepath": "{epoch}.keras", "save_best_only": True, "monitor": "val_mse", "mode": "min"},
    {"filepath": "{epoch}.keras", "save_best_only": True, "monitor": "val_loss", "mode": "max"},
]


@pytest.mark.parametrize("rate", [0.01, 1.0], ids=["falling", "rising"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_files_at_the_same_moments(case, rate, tmp_path):
    seen = []
    for name, side in (("ours", OURS), ("theirs", THEIRS)):
        (tmp_path / name).mkdir()
        seen.append(saved(side, tmp_path / name, rate, dict(case), {}))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"filepath": "m"},
        {"filepath": "m.txt"},
        {"filepath": "m.keras", "save_weights_only": True},
        {"filepath": "m.h5", "save_weights_only": True},
        {"filepath": "m.keras", "save_freq": "batch"},
        {"filepath": "m.keras", "save_freq": 2.5},
        {"filepath": "m.keras", "save_freq": None},
    ],
    ids=str,
)
def test_what_keras_refuses_is_refused(arguments):
    for side in (OURS, THEIRS):
        with pytest.raises(ValueError):
            side[2].ModelCheckpoint(**arguments)


def test_a_placeholder_that_is_not_logged_is_a_key_error(tmp_path):
    for side in (OURS, THEIRS):
        checkpoint = side[2].ModelCheckpoint(tmp_path / "{nothing}.keras")
        with pytest.raises(KeyError, match="nothing"):
            model_of(side).fit(X, Y, verbose=0, callbacks=[checkpoint])


@pytest.mark.parametrize("arguments", [("",), ("b", "batch"), ("b", 1.5), ("b", None)], ids=str)
def test_what_keras_refuses_of_a_backup_is_refused(arguments):
    for side in (OURS, THEIRS):
        with pytest.raises(ValueError):
            side[2].BackupAndRestore(*arguments)


@pytest.mark.parametrize("freq", ["epoch", 3])
@pytest.mark.parametrize("delete", [True, False])
def test_a_backup_is_there_and_gone_and_gone_on_with_as_keras_s(freq, delete, tmp_path):
    """Keras begins an epoch that was cut off anew; ours goes on in it. Either trains its number."""
    found = []
    for name, side in (("ours", OURS), ("theirs", THEIRS)):
        folder = tmp_path / name
        seen = []

        def backup(side=side, folder=folder):
            return side[2].BackupAndRestore(folder, save_freq=freq, delete_checkpoint=delete)

        def stop(epoch, logs, seen=seen, folder=folder):
            seen.append((epoch, folder.exists()))
            if epoch == 1 and len(seen) < 3:
                raise RuntimeError

        options = {"epochs": 4, "batch_size": 5, "verbose": 0, "shuffle": False}
        told = side[2].LambdaCallback(on_epoch_begin=stop)
        model = model_of(side)
        with pytest.raises(RuntimeError):
            model.fit(X, Y, callbacks=[told, backup()], **options)
        seen.append("again")
        model = model_of(side)
        model.fit(X, Y, callbacks=[told, backup()], **options)
        seen.append(("after", folder.exists()))
        found.append((seen, model.get_weights() if freq == "epoch" else None))
    assert found[0][0] == found[1][0]
    if freq == "epoch":
        for ours, theirs in zip(found[0][1], found[1][1], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)

"""Files of models: what is saved comes back as it was, or is refused when it is saved.

Strangers' files stand in `test_files_hostile.py`, Keras's in `test_files_keras.py`.
"""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import scratchnet
from scratchnet import Input, Sequential, config, layers, losses, metrics, models, optimizers
from scratchnet.saving import SavedStateError, objects
from scratchnet.testing.variants import KINDS, moderate

RNG = np.random.default_rng(7)
X = RNG.random((23, 6), dtype=np.float32)
Y = RNG.integers(0, 3, 23)
T = RNG.random((23, 3), dtype=np.float32)

KERNEL = "layers/0/0.npy"


@pytest.fixture(autouse=True)
def readable():
    config.set_engine("reference")


def network(seed=0, optimizer="adam", head="softmax", model=Sequential, **options):
    made = model([Input((6,)), layers.Dense(5, "relu"), layers.Dense(3, head)], seed=seed)
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | options
    made.compile(optimizer, **options)
    return made


def trained(**options):
    """A model whose optimizer has slots and whose generator was used."""
    model = network(**options)
    model.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    return model


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("everything", [False, True], ids=["as it is", "all arguments"])
@pytest.mark.parametrize("kind", KINDS.values())
def test_a_model_saved_in_the_middle_goes_on_to_the_same_bits(
    kind, everything, dtype, tmp_path, engine
):
    config.set_engine(engine)
    config.set_floatx(dtype)
    optimizer = kind(**moderate(kind) if everything else {})
    model = network(optimizer=optimizer, weighted_metrics=["acc"])
    model.fit(X, Y, epochs=2, batch_size=5, verbose=0)
    model.save(tmp_path / "model.npz")
    config.set_floatx("float32")  # a file says what it is, whatever the setting
    again = models.load_model(tmp_path / "model.npz")
    for one in (model, again):
        one.fit(X, Y, epochs=2, batch_size=5, verbose=0)
    assert again.theta.dtype == dtype
    assert again.theta.tobytes() == model.theta.tobytes()
    assert again.optimizer.iterations == model.optimizer.iterations == 20
    for name, slot in model.optimizer.slots.items():
        assert again.optimizer.slots[name].tobytes() == slot.tobytes()
    assert again.history.history == model.history.history
    assert again.metrics_names == model.metrics_names


def test_a_model_loads_without_its_compilation_when_asked(tmp_path):
    model = trained()
    model.save(filepath=tmp_path / "model.npz")
    bare = models.load_model(tmp_path / "model.npz", compile=False)
    assert not bare.compiled
    assert np.array_equal(bare.predict(X), model.predict(X))


def again(model, folder, **own):
    path = folder / "model.npz"
    model.save(path)
    return models.load_model(path, custom_objects=own or None)


def first_outputs(model):
    """What a user sees of a model next: predictions, metrics, and the weights after training on."""
    rest = model.fit(X, T if "squared" in model.loss.name else Y, 8, epochs=2, verbose=0)
    return model.predict(X), rest.history, model.theta


def same(one, other):
    for left, right in zip(first_outputs(one), first_outputs(other), strict=True):
        if isinstance(left, dict):
            assert left == right
        else:
            assert left.tobytes() == right.tobytes()


class Furthest(metrics.Mean):
    def __init__(self, name="furthest", power=1.0, offset=(0.0, 0.0)):
        super().__init__(name)
        self.power, self.offset = power, tuple(offset)

    def update_state(self, y_true, y_pred, sample_weight=None):
        furthest = np.max(np.abs(y_pred), axis=-1) ** self.power + self.offset[0]
        super().update_state(furthest, sample_weight)

    def get_config(self):
        return super().get_config() | {"power": self.power, "offset": list(self.offset)}


class Halved(losses.SparseCategoricalCrossentropy):
    pass


class Slowed(optimizers.SGD):
    def __init__(self, learning_rate=0.1, brake=2.0, **others):
        super().__init__(learning_rate, **others)
        self.brake = brake

    def update(self, engine, theta, grad, scalar):
        super().update(engine, theta, grad / self.brake, scalar)

    def get_config(self):
        return super().get_config() | {"brake": self.brake}


class Scaled(layers.Layer):
    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def forward(self, X, params, engine):
        return self.factor * X, None

    def backward(self, dZ, cache, params, grads, engine, need_dX=True):
        return self.factor * dZ

    def get_config(self):
        return super().get_config() | {"factor": self.factor}


class Drawn(scratchnet.initializers.Initializer):
    def __init__(self, scale=1.0, seed=None):
        super().__init__(seed)
        self.scale = scale

    def draw(self, shape, rng):
        return self.scale * rng.standard_normal(shape)

    def get_config(self):
        return super().get_config() | {"scale": self.scale}


class Stack(Sequential):
    note = "mine"


def spread(y_true, y_pred):
    return y_pred.max(axis=-1) - y_pred.min(axis=-1)


def with_layer(*between, **options):
    model = Sequential([Input((6,)), *between, layers.Dense(3, "softmax", name="head")], seed=1)
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


COMES_BACK = {
    "a metric with a name of its own": (
        lambda: network(metrics=[metrics.SparseCategoricalAccuracy("right")]),
        {},
    ),
    "a metric that has another's name": (
        lambda: network(metrics=[metrics.MeanSquaredError(name="accuracy")], loss="mse"),
        {},
    ),
    "a metric's threshold": (
        lambda: network(metrics=[metrics.BinaryAccuracy(threshold=0.9)], loss="mse"),
        {},
    ),
    "a metric's threshold, weighted": (
        lambda: network(weighted_metrics=[metrics.BinaryAccuracy("b", threshold=0)], loss="mse"),
        {},
    ),
    "a metric's dtype": (
        lambda: network(metrics=[metrics.SparseCategoricalAccuracy(dtype="float64")]),
        {},
    ),
    "a metric as a class": (lambda: network(metrics=[metrics.SparseCategoricalAccuracy]), {}),
    "a metric by another spelling": (lambda: network(metrics=["acc", "MSE"], loss="mse"), {}),
    "a metric's function": (
        lambda: network(metrics=[metrics.sparse_categorical_accuracy]),
        {},
    ),
    "a loss's function as a metric": (
        lambda: network(metrics=[losses.sparse_categorical_crossentropy]),
        {},
    ),
    "a function in its wrapper": (
        lambda: network(
            metrics=[metrics.MeanMetricWrapper(metrics.mean_squared_error)], loss="mse"
        ),
        {},
    ),
    "an own function": (lambda: network(metrics=[spread]), {"spread": spread}),
    "an own function in its wrapper": (
        lambda: network(metrics=[metrics.MeanMetricWrapper(spread, "wide")]),
        {"spread": spread},
    ),
    "an own metric": (
        lambda: network(metrics=["acc", Furthest("f", 2.0, (0.5, 1.0))]),
        {"Furthest": Furthest},
    ),
    "an own loss": (
        lambda: network(loss=Halved(from_logits=True, name="h")),
        {"Halved": Halved},
    ),
    "an own optimizer": (
        lambda: network(optimizer=Slowed(0.2, 3.0, momentum=0.5)),
        {"Slowed": Slowed},
    ),
    "an own layer": (lambda: with_layer(Scaled(0.5, name="half")), {"Scaled": Scaled}),
    "an own initializer": (
        lambda: with_layer(layers.Dense(4, kernel_initializer=Drawn(0.1, seed=3))),
        {"Drawn": Drawn},
    ),
    "an own kind of model": (lambda: network(model=Stack), {"Stack": Stack}),
    "a loss's settings": (
        lambda: network(
            loss=losses.SparseCategoricalCrossentropy(True, reduction="sum", name="mine"),
            head="linear",
        ),
        {},
    ),
    "how a sigmoid head is read": (
        lambda: network(
            loss=losses.SparseCategoricalCrossentropy(sigmoid_head="as_logits"), head="sigmoid"
        ),
        {},
    ),
    "an optimizer's name and numbers": (
        lambda: network(optimizer=optimizers.Adam(1 / 3, 0.7, 0.8, 1e-3, True, name="a")),
        {},
    ),
    "layers with names of arrays": (
        lambda: with_layer(layers.Dense(4, name="slots"), layers.Dense(4, name="config")),
        {},
    ),
    "layers with names of paths": (
        lambda: with_layer(layers.Dense(4, name="../a/b"), layers.Dense(4, name="a/b\n\x00")),
        {},
    ),
    "layers whose names and arrays are alike": (
        lambda: with_layer(layers.Dense(4, name="a"), layers.Dense(4, name="a/kernel")),
        {},
    ),
    "layers without a bias or parameters": (
        lambda: with_layer(layers.Rescaling(1 / 3, 0.1), layers.Flatten(), layers.Dense(2)),
        {},
    ),
}


@pytest.mark.parametrize("case", COMES_BACK)
def test_what_is_saved_comes_back_as_it_was(case, tmp_path):
    make, own = COMES_BACK[case]
    model = make()
    data = T if "squared" in model.loss.name else Y
    model.fit(X, data, 8, verbose=0)
    loaded = again(model, tmp_path, **own)
    assert type(loaded) is type(model)
    assert loaded.metrics_names == model.metrics_names
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    for one, other in zip(model.layers, loaded.layers, strict=True):
        assert other.get_config() == one.get_config()
    for part in ("optimizer", "loss"):
        assert type(getattr(loaded, part)) is type(getattr(model, part))
        assert getattr(loaded, part).get_config() == getattr(model, part).get_config()
    same(model, loaded)


@pytest.mark.parametrize("case", [name for name, (_, own) in COMES_BACK.items() if own])
def test_without_custom_objects_an_own_thing_is_asked_for_by_name(case, tmp_path):
    make, own = COMES_BACK[case]
    make().save(tmp_path / "model.npz")
    (name,) = own
    with pytest.raises(SavedStateError, match=rf"custom_objects=\{{'{name}': {name}\}}"):
        models.load_model(tmp_path / "model.npz")


def test_everything_missing_is_named_at_once(tmp_path):
    model = with_layer(Scaled(2.0, name="twice"), metrics=[Furthest(), spread])
    model.compile(Slowed(), "sparse_categorical_crossentropy", metrics=[Furthest(), spread])
    model.save(tmp_path / "model.npz")
    with pytest.raises(SavedStateError) as found:
        models.load_model(tmp_path / "model.npz", custom_objects={"Unused": Stack})
    for name in ("Scaled", "Furthest", "spread", "Slowed"):
        assert f"'{name}'" in str(found.value)


def test_custom_objects_are_names_and_callables(tmp_path):
    trained().save(tmp_path / "model.npz")
    for wrong in ([Furthest], {"Furthest": "os.system"}, {3: Furthest}):
        with pytest.raises(TypeError, match="custom_objects"):
            models.load_model(tmp_path / "model.npz", custom_objects=wrong)


def test_a_file_can_not_reach_what_was_not_handed_over(tmp_path):
    """`os.system` is a function, imported and everything: it stays out of reach."""
    path = tmp_path / "model.npz"
    network(metrics=[spread]).save(path)
    rewrite(path, lambda c: asked(c)["metrics"][0].update(module="os", config="system"))
    with pytest.raises(SavedStateError, match="function system is not one of ours"):
        models.load_model(path, custom_objects={"spread": spread})


class Forgetful(metrics.Mean):
    """Its get_config is the base's, which knows nothing of `power`."""

    def __init__(self, power=2.0, name="forgetful"):
        super().__init__(name)
        self.power = power

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_pred[:, 0] ** self.power, sample_weight)


class Demanding(Forgetful):
    def __init__(self, needed):
        super().__init__()
        self.needed = needed


class Changing(Forgetful):
    def get_config(self):
        return {"name": self.name, "power": self.power + 1}


class Mapped(Forgetful):
    def get_config(self):
        return {"name": self.name, "power": {0: 1.0}}


class Silent(Forgetful):
    def get_config(self):
        return None


class Holding(Forgetful):
    def get_config(self):
        return {"name": self.name, "power": object()}


class Needy(Sequential):
    def __init__(self, width):
        super().__init__([Input((6,)), layers.Dense(width)])


class OwnBits(np.random.PCG64):
    pass


def lookalike():
    """Another function of the same name."""

    def spread(y_true, y_pred):
        return y_pred[:, 0]

    return spread


class Counted:
    def __call__(self, y_true, y_pred):
        return y_pred[:, 0]


REFUSED = {
    "a lambda": (lambda: network(metrics=[lambda t, p: p[:, 0]]), "<lambda>", "with def"),
    "an object that is called": (lambda: network(metrics=[Counted()]), "Counted", "with def"),
    "a setting left out": (lambda: network(metrics=[Forgetful(3.0)]), "'power'", "get_config"),
    "an argument left out": (lambda: network(metrics=[Demanding(3)]), "'needed'", "get_config"),
    "settings that change": (lambda: network(metrics=[Changing()]), "power", "get_config"),
    "a dict with numbers for keys": (lambda: network(metrics=[Mapped()]), "key 0", "no text"),
    "a config that is none": (lambda: network(metrics=[Silent()]), "None", "no dict"),
    "a config that holds an object": (lambda: network(metrics=[Holding()]), "object", "JSON"),
    "a number that JSON has not": (
        lambda: network(metrics=[metrics.BinaryAccuracy(threshold=np.inf)], loss="mse"),
        "inf",
        "JSON",
    ),
    "two functions of one name": (
        lambda: network(metrics=[spread, lookalike()]),
        "'spread'",
        "Rename",
    ),
    "a model that needs arguments": (lambda: Needy(3), "Needy", "defaults"),
    "an own bit generator": (
        lambda: network(seed=np.random.Generator(OwnBits(0))),
        "OwnBits",
        "PCG64",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_come_back_is_refused_and_the_old_file_stays(case, tmp_path):
    make, value, remedy = REFUSED[case]
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    with pytest.raises(ValueError) as found:
        make().save(path)
    assert value in str(found.value)
    assert remedy in str(found.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", objects.BIT_GENERATORS)
def test_every_bit_generator_of_numpy_comes_back_and_goes_on(kind, tmp_path):
    model = trained(seed=np.random.Generator(objects.BIT_GENERATORS[kind](5)))
    model.rng.integers(2**32, dtype=np.uint32)  # half of a draw is left over
    loaded = again(model, tmp_path)
    assert type(loaded.rng.bit_generator).__name__ == kind
    assert loaded.rng.integers(2**32, size=9, dtype=np.uint32).tolist() == (
        model.rng.integers(2**32, size=9, dtype=np.uint32).tolist()
    )
    same(model, loaded)


def test_an_old_random_state_comes_back(tmp_path):
    old = np.random.RandomState(3)
    model = trained(seed=np.random.Generator(old._bit_generator))
    same(model, again(model, tmp_path))


OUTSIDE = {
    ("MT19937", "pos"): 625,
    ("Philox", "buffer_pos"): 5,
    ("PCG64", "has_uint32"): 2,
    ("PCG64DXSM", "uinteger"): 2**32,
    ("SFC64", "has_uint32"): -1,
}


@pytest.mark.parametrize(("kind", "key"), OUTSIDE)
def test_a_generator_state_that_numpy_would_read_past_its_arrays_with_is_refused(kind, key):
    state = objects.generator_state(np.random.Generator(objects.BIT_GENERATORS[kind](0)))
    assert objects.generator_from(state).random() >= 0
    for holder in (state, state["state"]):
        if key in holder:
            for value in (OUTSIDE[kind, key], -1, 0.5, "0", None, True):
                with pytest.raises(ValueError, match=key):
                    objects.generator_from(
                        {**state, key: value}
                        if holder is state
                        else {**state, "state": {**holder, key: value}}
                    )
            return
    raise AssertionError(f"{kind} has no {key}")


def test_a_file_of_version_0_1_0_is_read(tmp_path):
    """Format 1 called its arrays by the layers' names."""
    path, model = tmp_path / "old.npz", trained(optimizer=optimizers.Adam(0.01))
    old = {
        "format": 1,
        "name": model.name,
        "dtype": "float32",
        "input_shape": [6],
        "layers": [
            ["Dense", {"units": d.units, "activation": d.activation, "use_bias": True, "name": n}]
            for d, n in zip(model.layers, ("dense", "dense_1"), strict=True)
        ],
        "rng": model.rng.bit_generator.state,
        "loss": ["SparseCategoricalCrossentropy", model.loss.get_config()],
        "optimizer": ["Adam", model.optimizer.get_config()],
        "iterations": model.optimizer.iterations,
        "metrics": [["accuracy"], []],
    }
    arrays = {f"{d.name}/{n}": a for d in model.layers for n, a in d.params.items()}
    arrays |= {f"slots/{n}": slot for n, slot in model.optimizer.slots.items()}
    scratchnet.saving.save(path, scratchnet.saving.State(old, arrays))
    same(model, models.load_model(path))


# --- writing --------------------------------------------------------------------------------------


def test_a_model_is_written_under_its_own_ending_only(tmp_path):
    for name in ("model", "model.h5", "model.npy", "model.pkl", "model.npz.bak", "model.json"):
        with pytest.raises(ValueError, match=r"expected a name that ends in"):
            trained().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_link_a_mode_and_the_umask_are_kept(tmp_path):
    model, real, link = trained(), tmp_path / "deep" / "real.npz", tmp_path / "link.npz"
    real.parent.mkdir()
    link.symlink_to(real)
    before = os.umask(0o027)
    try:
        model.save(link)
        assert stat.S_IMODE(real.stat().st_mode) == 0o640
        real.chmod(0o604)
        model.save(link)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o604
    assert np.array_equal(models.load_model(real).predict(X), model.predict(X))


def test_what_is_no_file_or_write_protected_is_left_alone(tmp_path):
    model = trained()
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    kept = tmp_path / "kept.npz"
    kept.write_bytes(b"kept")
    kept.chmod(0o444)
    for name in ("pipe.npz", "folder.npz", "kept.npz", "no/where.npz"):
        with pytest.raises(OSError) as found:
            model.save(tmp_path / name)
        assert found.value.filename == str(tmp_path / name)
    assert kept.read_bytes() == b"kept"
    assert stat.S_ISFIFO((tmp_path / "pipe.npz").stat().st_mode)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.npz"
    model = trained()
    model.save(path)
    before = path.read_bytes()
    code = (
        "import resource, sys; from scratchnet import Input, Sequential, layers;"
        "m = Sequential([Input((6,)), layers.Dense(5000)]);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        f"m.save({str(path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "OSError" in done.stderr
    assert "the old file is untouched" in done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_model_makes_the_same_bytes(tmp_path):
    model = trained()
    model.save(tmp_path / "one.npz")
    model.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_state_holds_floats_only(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, config=np.frombuffer(b"{}", np.uint8), counts=np.arange(3))
    with pytest.raises(SavedStateError, match=r"counts\.npy holds int64, expected float32 or"):
        scratchnet.saving.load(path)


# --- damaged --------------------------------------------------------------------------------------


def asked(config):
    return config["model"]["compile_config"]


def stack(config):
    return config["model"]["config"]["layers"]


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def rewrite(path, change):
    """Change the config of a saved model and leave the rest."""
    contents = members(path)
    text = np.load(io.BytesIO(contents["config.npy"])).tobytes()
    settings = json.loads(text)
    change(settings)
    contents["config.npy"] = npy(np.frombuffer(json.dumps(settings).encode(), np.uint8))
    write(path, contents)


def replace(path, name, data):
    contents = members(path)
    assert name in contents
    contents[name] = data
    write(path, contents)


def drop(path, name):
    contents = members(path)
    del contents[name]
    write(path, contents)


def announce(path, shape):
    """An array that says it is huge."""
    header = io.BytesIO()
    settings = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, settings)
    replace(path, KERNEL, header.getvalue() + b"\0" * 64)


def truncate(path, length):
    path.write_bytes(path.read_bytes()[:length])


MALFORMED = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut in the middle": lambda path: truncate(path, 900),
    "cut at the end": lambda path: truncate(path, path.stat().st_size - 5),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "text": lambda path: path.write_text("not a model"),
    "a lone array": lambda path: path.write_bytes(npy(np.ones(3))),
    "no config": lambda path: drop(path, "config.npy"),
    "a config that is no dict": lambda path: replace(
        path, "config.npy", npy(np.frombuffer(b"[1]", np.uint8))
    ),
    "a config that is no JSON": lambda path: replace(
        path, "config.npy", npy(np.frombuffer(b"{", np.uint8))
    ),
    "pickled arrays": lambda path: replace(
        path, KERNEL, npy(np.array([{}], object), allow_pickle=True)
    ),
    "integers for weights": lambda path: replace(path, KERNEL, npy(np.ones((6, 5), np.int32))),
    "compressed": lambda path: write(path, members(path), zipfile.ZIP_DEFLATED),
    "an array that says it is huge": lambda path: announce(path, (10**6, 10**6)),
    "an array of no end": lambda path: announce(path, (2**62, 2**62)),
    "a missing kernel": lambda path: drop(path, KERNEL),
    "a missing slot": lambda path: drop(path, "slots/1.npy"),
    "a kernel of another shape": lambda path: replace(
        path, KERNEL, npy(np.ones((5, 6), np.float32))
    ),
    "a bias of another dtype": lambda path: replace(path, "layers/0/1.npy", npy(np.ones(5))),
    "bytes after the end of a kernel": lambda path: replace(
        path, KERNEL, members(path)[KERNEL] + b"more"
    ),
    "a column-major kernel": lambda path: replace(
        path, KERNEL, npy(np.asfortranarray(np.ones((6, 5), np.float32)))
    ),
    "a format from the future": lambda path: rewrite(path, lambda c: c.update(format=3)),
    "an unknown layer": lambda path: rewrite(
        path, lambda c: stack(c)[1].update(class_name="Lambda")
    ),
    "an unknown loss": lambda path: rewrite(
        path, lambda c: asked(c)["loss"].update(class_name="eval")
    ),
    "an unknown optimizer": lambda path: rewrite(
        path, lambda c: asked(c)["optimizer"].update(class_name="System")
    ),
    "layers that are no list": lambda path: rewrite(
        path, lambda c: c["model"]["config"].update(layers=3)
    ),
    "a layer without options": lambda path: rewrite(
        path, lambda c: stack(c).append({"class_name": "Dense"})
    ),
    "units below 0": lambda path: rewrite(path, lambda c: stack(c)[1]["config"].update(units=-1)),
    "no input shape": lambda path: rewrite(
        path, lambda c: c["model"]["config"].update(layers=stack(c)[1:], build_input_shape=None)
    ),
    "iterations that are no number": lambda path: rewrite(path, lambda c: c.update(iterations="x")),
    "another generator": lambda path: rewrite(path, lambda c: c.update(rng={"bit_generator": "X"})),
    "a generator that is none": lambda path: rewrite(path, lambda c: c.update(rng=3)),
    "a dtype that models don't have": lambda path: rewrite(
        path, lambda c: c["model"]["config"].update(dtype="int8")
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_gives_one_error_that_names_it(case, tmp_path):
    path = tmp_path / "model.npz"
    trained().save(path)
    MALFORMED[case](path)
    with pytest.raises(SavedStateError, match=r"model\.npz: "):
        models.load_model(path)

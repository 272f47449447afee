"""Files made by hand to do harm, each with what an error about it must name.

`CASES` maps a name to (name of the file, a function that makes its content, words). The functions
get the path of a marker that the file would create if anything in it were executed. Kinds after
CVE-2025-1550, 2025-8747, 2025-9905, 2025-9906, 2025-12058, 2025-49655 (Keras) and CVE-2019-6446
(NumPy), and the bombs and detours that zip archives, HDF5, JSON and `.npy` allow.
"""

from __future__ import annotations

import base64
import io
import json
import marshal
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import h5py
import numpy as np

from scratchnet import Input, Sequential, layers
from scratchnet.checkpoint import state_of
from scratchnet.saving import keras_files


class Hostile(NamedTuple):
    """`make(marker)` is the content of a file of this name; an error about it holds `words`."""

    file: str
    make: Callable[[str], bytes]
    words: str


class Trap:
    """An object whose unpickling makes a folder."""

    def __init__(self, marker: str):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


# --- how files are put together -------------------------------------------------------------------


@cache
def state() -> Any:
    model = Sequential([Input((6,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")], seed=0)
    model.compile(
        "adam", "sparse_categorical_crossentropy", metrics=["accuracy"], engine="reference"
    )
    model.fit(np.ones((4, 6)), [0, 1, 2, 0], verbose=0)
    return state_of(model, built=True)


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def header(text: str) -> bytes:
    body = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(body)) + body


def announced(shape: str, descr: str = "<f4") -> bytes:
    return header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # past the check of the constructor
            entry.compress_type = method
            archive.writestr(entry, data)
    return buffer.getvalue()


def text(config: Any) -> bytes:
    return npy(np.frombuffer(json.dumps(config).encode(), np.uint8))


def parts(change: Callable[[dict[str, Any]], Any] | None = None) -> dict[str, bytes]:
    """The members of a good model file, after a change to its config."""
    config = json.loads(json.dumps(state().config))
    if change is not None:
        change(config)
    arrays = {f"{name}.npy": npy(array) for name, array in state().arrays.items()}
    return {"config.npy": text(config)} | arrays


def model(change: Callable[[dict[str, Any]], Any] | None = None, **members: bytes) -> bytes:
    """A model file of ours, with members replaced or added; `__` stands for a slash."""
    named = {name.replace("__", "/") + ".npy": data for name, data in members.items()}
    return zipped(list((parts(change) | named).items()))


def described(change: Callable[[dict[str, Any]], Any] | None = None) -> bytes:
    config = keras_files.to_keras(state().config["model"])
    config = json.loads(json.dumps(config))
    if change is not None:
        change(config)
    return json.dumps(config).encode()


METADATA = json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}).encode()


def keras(
    change: Callable[[dict[str, Any]], Any] | None = None,
    extra: list[tuple[str, bytes]] | None = None,
    weights: bytes | None = None,
    config: bytes | None = None,
) -> bytes:
    """A `.keras` file, after a change to its config."""
    good = zipfile.ZipFile(io.BytesIO(keras_files.write_model(state())))
    members = [
        ("metadata.json", METADATA),
        ("config.json", described(change) if config is None else config),
        ("model.weights.h5", good.read("model.weights.h5") if weights is None else weights),
    ]
    return zipped(members + (extra or []))


def layer(**settings: Any) -> Callable[[dict[str, Any]], Any]:
    """Put a layer on top of a `.keras` file's model."""
    return lambda config: config["config"]["layers"].append(settings)


def hdf5(change: Callable[[h5py.File], Any]) -> bytes:
    """The weights of a good `.keras` file, after a change."""
    good = zipfile.ZipFile(io.BytesIO(keras_files.write_model(state()))).read("model.weights.h5")
    buffer = io.BytesIO(good)
    with h5py.File(buffer, "r+") as root:
        change(root)
    return buffer.getvalue()


def kernel(make: Callable[[h5py.Group], Any]) -> bytes:
    """The weights, with something else in the place of the first kernel."""

    def change(root: h5py.File) -> None:
        group = root["layers/dense/vars"]
        del group["0"]
        make(group)

    return hdf5(change)


def never_written(group: h5py.Group) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((6, 5))
    h5py.h5d.create(group.id, b"0", h5py.h5t.IEEE_F32LE, space, plist)


def huge(group: h5py.Group) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((10**6, 10**6))
    h5py.h5d.create(group.id, b"0", h5py.h5t.IEEE_F32LE, space, plist)


def virtual(group: h5py.Group) -> None:
    plan = h5py.VirtualLayout((6, 5), "<f4")
    plan[:] = h5py.VirtualSource("/etc/passwd", "x", (6, 5))
    group.create_virtual_dataset("0", plan)


def circle(group: h5py.Group) -> None:
    group["0"] = group.file["layers"]


def cellar(root: h5py.File) -> None:
    group = root
    for _ in range(100):
        group = group.create_group("a")


def overlapping(count: int) -> bytes:
    """Many entries of a directory that name the same bytes."""
    one = zipped([("config.npy", text({"format": 2})), ("a.npy", npy(np.zeros(100_000, "f4")))])
    buffer = bytearray(one)
    end = buffer.rindex(b"PK\5\6")
    first = buffer.rindex(b"PK\1\2", 0, end)
    entry, rest = bytes(buffer[first:end]), bytes(buffer[end:])
    more = b"".join(entry.replace(b"a.npy", f"{i:05}"[-5:].encode()) for i in range(count))
    size = end - struct.unpack("<L", rest[16:20])[0] + len(more)
    total = 2 + count
    rest = rest[:8] + struct.pack("<HHL", total, total, size) + rest[16:]
    return bytes(buffer[:end]) + more + rest


def encrypted() -> bytes:
    data = bytearray(model())
    first = data.index(b"PK\1\2")
    data[first + 8] |= 1
    return bytes(data)


def lying_name() -> bytes:
    """The directory says config.npy, the entry before the bytes another name."""
    data = model()
    return data.replace(b"config.npy", b"conf/g.npy", 1)


def code(marker: str) -> str:
    """Byte code of a function that makes the marker, as Keras's Lambda keeps it."""
    made = compile(f"__import__('os').mkdir({marker!r})", "x", "exec")
    return base64.b64encode(marshal.dumps(made)).decode()


DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000


def function(module: str, name: str) -> dict[str, Any]:
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


def stack(config: dict[str, Any]) -> Any:
    return config["model"]["config"]["layers"]


def asked(config: dict[str, Any]) -> Any:
    return config["model"]["compile_config"]


# --- the cases ------------------------------------------------------------------------------------

NPZ = {
    "a pickled kernel": (
        lambda marker: model(layers__0__0=npy(np.array([Trap(marker)], object), allow_pickle=True)),
        "layers/0/0.npy holds pickled objects",
    ),
    "a pickled config": (
        lambda marker: model(config=npy(np.array(Trap(marker), object), allow_pickle=True)),
        "config.npy holds pickled objects",
    ),
    "a pickle for a file": (lambda marker: pickle.dumps(Trap(marker)), "not a zip"),
    "a pickle for a member": (
        lambda marker: model(layers__0__0=pickle.dumps(Trap(marker))),
        "no array in .npy format",
    ),
    "a header that is an expression": (
        lambda marker: model(
            layers__0__0=header(
                f"{{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').mkdir("
                f"{marker!r}),), }}"
            )
        ),
        "__import__",
    ),
    "a header without an end": (
        lambda marker: model(layers__0__0=header("{'descr': '<f4', 'shape': (6, 5), (")),
        "header",
    ),
    "a header of a megabyte": (
        lambda marker: model(
            layers__0__0=b"\x93NUMPY\2\0" + struct.pack("<L", 2**20) + b"(" * 2**20
        ),
        "version (2, 0)",
    ),
    "a dtype of a gigabyte": (
        lambda marker: model(layers__0__0=announced("(1,)", "V1073741824")),
        "header",
    ),
    "units=700,000 in a small file": (
        lambda marker: model(lambda c: stack(c)[1]["config"].update(units=700_000)),
        "(6, 700000)",
    ),
    "a sample of 10^18 numbers": (
        lambda marker: model(lambda c: stack(c)[0]["config"].update(batch_shape=[None, 10**18])),
        "1000000000000000000",
    ),
    "an array that announces a terabyte": (
        lambda marker: model(layers__0__0=announced("(500000, 500000)") + bytes(64)),
        "announces 1,000,000,000,000 bytes",
    ),
    "an array whose size is no number": (
        lambda marker: model(layers__0__0=announced(f"({2**62}, {2**62})") + bytes(64)),
        "announces",
    ),
    "600 entries over the same bytes": (lambda marker: overlapping(600), "overlaps"),
    "a deflated bomb": (
        lambda marker: zipped(
            [*parts().items(), ("layers/9/9.npy", npy(np.zeros(10**7, "f4")))],
            zipfile.ZIP_DEFLATED,
        ),
        "has compression method deflated",
    ),
    "a config that nests 10,000 deep": (
        lambda marker: model(config=npy(np.frombuffer(DEEP, np.uint8))),
        "nests deeper",
    ),
    "a config that says a thing twice": (
        lambda marker: model(config=npy(np.frombuffer(b'{"format": 2, "format": 2}', np.uint8))),
        "'format' twice",
    ),
    "a member twice": (
        lambda marker: zipped([*parts().items(), ("layers/0/0.npy", npy(np.zeros((6, 5), "f4")))]),
        "layers/0/0.npy is in it twice",
    ),
    "an absolute name": (
        lambda marker: zipped([*parts().items(), (f"{marker}.npy", npy(np.zeros(1, "f4")))]),
        "absolute name",
    ),
    "a name that climbs": (
        lambda marker: zipped([*parts().items(), ("../../x.npy", npy(np.zeros(1, "f4")))]),
        "../../x.npy is no plain name",
    ),
    "a name that climbs backwards": (
        lambda marker: zipped([*parts().items(), ("..\\x.npy", npy(np.zeros(1, "f4")))]),
        "is no plain name",
    ),
    "a drive for a name": (
        lambda marker: zipped([*parts().items(), ("C:x.npy", npy(np.zeros(1, "f4")))]),
        "absolute name",
    ),
    "an archive in the archive": (
        lambda marker: zipped([*parts().items(), ("inner.npy", model())]),
        "no array in .npy format",
    ),
    "two names for one member": (lambda marker: lying_name(), "differ"),
    "an encrypted member": (lambda marker: encrypted(), "encrypted"),
    "a generator that reads past its state": (
        lambda marker: model(
            lambda c: c.update(
                rng={
                    "bit_generator": "MT19937",
                    "state": {"key": [0] * 624, "pos": 10**6},
                }
            )
        ),
        "pos holds 1000000",
    ),
    "a metric called os.system": (
        lambda marker: model(lambda c: asked(c)["metrics"].append(function("os", "system"))),
        "function system",
    ),
    "a class from a module": (
        lambda marker: model(
            lambda c: asked(c)["optimizer"].update(module="subprocess", class_name="Popen")
        ),
        "Popen",
    ),
    "an array of nobody's": (
        lambda marker: model(layers__7__0=npy(np.zeros(3, "f4"))),
        "'layers/7/0' belongs to no layer",
    ),
}

KERAS = {
    "a function of any module (CVE-2025-1550)": (
        lambda marker: keras(layer(**function("os", "system"), inbound_nodes=[[marker]])),
        "function system",
    ),
    "a function in a layer's settings (CVE-2025-1550)": (
        lambda marker: keras(
            lambda c: c["config"]["layers"][1]["config"].update(
                activation=function("builtins", "eval")
            )
        ),
        "function eval",
    ),
    "a download (CVE-2025-8747)": (
        lambda marker: keras(layer(**function("keras.utils", "get_file"))),
        "get_file (keras.utils)",
    ),
    "the switch that turns safety off (CVE-2025-9906)": (
        lambda marker: keras(layer(**function("keras.config", "enable_unsafe_deserialization"))),
        "enable_unsafe_deserialization (keras.config)",
    ),
    "a lambda's code (CVE-2025-9905, 9906)": (
        lambda marker: keras(
            layer(
                module="keras.layers",
                class_name="Lambda",
                config={
                    "name": "l",
                    "function": {"class_name": "__lambda__", "config": {"value": code(marker)}},
                },
            )
        ),
        "Lambda (keras.layers)",
    ),
    "a lambda's code in a metric": (
        lambda marker: keras(
            lambda c: c["compile_config"]["metrics"].append(
                {"class_name": "__lambda__", "config": {"value": code(marker)}}
            )
        ),
        "__lambda__ is never loaded",
    ),
    "a file for a vocabulary (CVE-2025-12058)": (
        lambda marker: keras(
            layer(
                module="keras.layers",
                class_name="StringLookup",
                config={"name": "s", "vocabulary": "/etc/passwd"},
            )
        ),
        "StringLookup (keras.layers)",
    ),
    "a pickled torch module (CVE-2025-49655)": (
        lambda marker: keras(
            layer(
                module="keras.layers",
                class_name="TorchModuleWrapper",
                config={"name": "t", "module": base64.b64encode(pickle.dumps(1)).decode()},
            )
        ),
        "TorchModuleWrapper (keras.layers)",
    ),
    "a class by a name that is registered": (
        lambda marker: keras(
            layer(
                module=None,
                class_name="Dense",
                config={"name": "d", "units": 3},
                registered_name="os>system",
            )
        ),
        "Dense",
    ),
    "a config that nests 10,000 deep": (lambda marker: keras(config=DEEP), "nests deeper"),
    "a config that nests 10,000 lists": (
        lambda marker: keras(config=b"[" * 10_000 + b"]" * 10_000),
        "nests deeper",
    ),
    "a config that holds Infinity": (
        lambda marker: keras(config=b'{"config": {"layers": [Infinity]}}'),
        "Infinity",
    ),
    "layers that are texts": (
        lambda marker: keras(lambda c: c["config"].update(layers=["Dense", 3])),
        "described by something else than an object",
    ),
    "a config that is a list": (lambda marker: keras(config=b"[1]"), "config.json is a list"),
    "a config twice": (
        lambda marker: keras(extra=[("config.json", b"{}")]),
        "config.json is in it twice",
    ),
    "assets that climb": (
        lambda marker: keras(extra=[("assets/../../../x", b"x")]),
        "assets/../../../x is no plain name",
    ),
    "an absolute asset": (lambda marker: keras(extra=[(marker, b"x")]), "absolute name"),
    "a link out of the archive": (
        lambda marker: keras(extra=[("assets/passwd", b"/etc/passwd")]),
        "assets/passwd",
    ),
    "a model in the model": (lambda marker: keras(extra=[("inner.keras", keras())]), "inner.keras"),
    "weights that are an archive": (
        lambda marker: keras(weights=keras()),
        "file signature",
    ),
    "weights that are a pickle": (
        lambda marker: keras(weights=pickle.dumps(Trap(marker))),
        "file signature",
    ),
    "units=700,000 in a small file": (
        lambda marker: keras(lambda c: c["config"]["layers"][1]["config"].update(units=700_000)),
        "(6, 700000)",
    ),
    "a deflated config of 100 MB": (
        lambda marker: zipped(
            [("metadata.json", METADATA), ("config.json", b" " * 10**8)], zipfile.ZIP_DEFLATED
        ),
        "has compression method deflated",
    ),
}


def put(value: Any) -> Callable[[], bytes]:
    """A file whose kernel is this instead."""
    return lambda: kernel(lambda group: group.__setitem__("0", value))


HDF5 = {
    "an array of 4 TB that was never written": (lambda: kernel(huge), "announces"),
    "an array that was never written": (lambda: kernel(never_written), "not in the file"),
    "a virtual array": (lambda: kernel(virtual), "layers/dense/vars/0 is virtual"),
    "an external array": (
        lambda: kernel(
            lambda g: g.create_dataset("0", (6, 5), "<f4", external=[("/etc/passwd", 0, 120)])
        ),
        "layers/dense/vars/0 is external",
    ),
    "a soft link": (
        put(h5py.SoftLink("/layers/dense_1/vars/0")),
        "layers/dense/vars/0 is a soft link",
    ),
    "a soft link to nowhere": (
        put(h5py.SoftLink("/no/where")),
        "layers/dense/vars/0 is a soft link",
    ),
    "a link to another file": (
        put(h5py.ExternalLink("/etc/passwd", "/x")),
        "layers/dense/vars/0 is an external link",
    ),
    "a compressed bomb": (
        lambda: kernel(
            lambda g: g.create_dataset("0", (10**4, 10**4), "<f4", compression="gzip", fillvalue=1)
        ),
        "layers/dense/vars/0 is compressed or filtered",
    ),
    "a filter": (
        lambda: kernel(
            lambda g: g.create_dataset("0", data=np.ones((6, 5), "f4"), fletcher32=True)
        ),
        "layers/dense/vars/0 is compressed or filtered",
    ),
    "chunks": (
        lambda: kernel(lambda g: g.create_dataset("0", (10**5, 10**5), "<f4", chunks=(9, 9))),
        "layers/dense/vars/0 is in chunks",
    ),
    "one array under two names": (
        lambda: kernel(lambda g: g.__setitem__("0", g["1"])),
        "under another name too",
    ),
    "a circle of groups": (lambda: kernel(circle), "under another name too"),
    "groups 100 deep": (lambda: hdf5(cellar), "deeper nested"),
    "text of any length": (
        lambda: kernel(lambda g: g.create_dataset("0", data=["a", "b"])),
        "layers/dense/vars/0 holds no numbers",
    ),
    "a structure": (
        lambda: kernel(lambda g: g.create_dataset("0", data=np.zeros(3, "i4,f8"))),
        "layers/dense/vars/0 holds no numbers",
    ),
    "references to elsewhere": (
        lambda: kernel(lambda g: g.create_dataset("0", (3,), h5py.ref_dtype)),
        "layers/dense/vars/0 holds no numbers",
    ),
    "a named type": (put(np.dtype("f8")), "neither a group nor an array"),
    "an empty array": (put(h5py.Empty("f4")), "layers/dense/vars/0 is empty"),
    "half precision": (put(np.ones((6, 5), "f2")), "layers/dense/vars/0 holds float16"),
    "the other byte order": (put(np.ones((6, 5), ">f4")), "layers/dense/vars/0 holds"),
    "an array of nobody's": (
        lambda: hdf5(lambda root: root.__setitem__("evil", np.ones(3))),
        "evil",
    ),
    "a kernel of another shape": (put(np.ones((5, 6), "f4")), "(5, 6)"),
}


def _hdf5_cases() -> dict[str, Hostile]:
    """Each as a weights file, and inside of a `.keras` file."""
    cases = {}
    for name, (make, words) in HDF5.items():
        cases[f"weights: {name}"] = Hostile("a.weights.h5", lambda marker, m=make: m(), words)
        cases[f"keras: {name}"] = Hostile(
            "a.keras", lambda marker, m=make: keras(weights=m()), words
        )
    return cases


CASES: dict[str, Hostile] = (
    {f"npz: {name}": Hostile("a.npz", *case) for name, case in NPZ.items()}
    | {f"keras: {name}": Hostile("a.keras", *case) for name, case in KERAS.items()}
    | _hdf5_cases()
    | {
        "the old format with a lambda (CVE-2025-9905)": Hostile(
            "a.h5",
            lambda marker: hdf5(lambda root: root.attrs.update(model_config=code(marker))),
            "old HDF5",
        )
    }
)

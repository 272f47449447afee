"""A name of Keras's that is not built is refused in one sentence, however it is asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from scratchnet import unbuilt

ROOMS = {room: f"scratchnet.{room}".removesuffix(".") for room in unbuilt.TABLE}
NAMES = [(room, rows[0][2].split()[0]) for room, rows in unbuilt.TABLE.items()]


@pytest.mark.parametrize(("room", "name"), NAMES)
def test_both_ways_of_asking_give_the_sentence(room, name):
    module = importlib.import_module(ROOMS[room])
    with pytest.raises(unbuilt.NotBuiltHereError, match="is not built here") as caught:
        getattr(module, name)
    assert caught.value.name == name and name in str(caught.value)
    assert not hasattr(module, name)
    code = f"try:\n    from {ROOMS[room]} import {name}\nexcept ImportError as error: said = error"
    found: dict[str, object] = {}
    exec(code, found)
    assert type(found["said"]) is ImportError and str(found["said"]) == str(caught.value)


def test_what_is_in_the_table_is_not_built():
    for room, rows in unbuilt.TABLE.items():
        module = importlib.import_module(ROOMS[room])
        names = [name for _, _, known in rows for name in known.split()]
        assert len(names) == len(set(names))
        assert [name for name in names if name in vars(module)] == []


@pytest.mark.parametrize("name", ["Dens", "_private", "__wrapped__"])
def test_another_name_is_a_plain_error(name):
    from scratchnet import layers

    with pytest.raises(AttributeError, match=f"has no attribute '{name}'") as caught:
        getattr(layers, name)
    assert type(caught.value) is AttributeError
    done = subprocess.run(
        [sys.executable, "-c", f"from scratchnet.layers import {name}"],
        capture_output=True,
        text=True,
    )
    assert f"ImportError: cannot import name '{name}'" in done.stderr

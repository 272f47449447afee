"""Every name that Keras exports from a room of ours is built here or refused in a sentence."""

from __future__ import annotations

import importlib

import pytest

from scratchnet import unbuilt


@pytest.mark.parametrize("room", unbuilt.TABLE)
def test_no_name_of_keras_s_is_a_plain_attribute_error(room):
    theirs = importlib.import_module(f"keras.{room}".removesuffix("."))
    ours = importlib.import_module(f"scratchnet.{room}".removesuffix("."))
    names = [name for name in dir(theirs) if not name.startswith("_") and name != "src"]
    assert len(names) > 2
    plain = [n for n in names if n not in dir(ours) and unbuilt.sentence(room, n) is None]
    assert plain == []

"""Names of somebody else's reach the terminal as text: no commands to it, no lines of their own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import photos
import pytest

import scratchnet
from scratchnet import layers
from scratchnet.app import pictures
from scratchnet.app.cli import screen
from scratchnet.app.text import to_json

pytest_plugins = ["commandline"]

TRAIN = ["train", "--engine", "reference", "--epochs", "1", "--limit", "100", "-q", "--out", "a"]

NAMES = {
    "colours": "five\x1b[31mred",
    "a title": "five\x1b]0;owned\x07",
    "clear": "five\x1b[2J\x1b[H",
    "a line": "five\nError: forged by a name.",
    "a return": "five\rError: forged by a name.",
    "eight bits": "five\x9b31m",
    "direction": "five\u202egnp.evif",
    "line separator": "five\u2028Error: forged by a name.",
    "backspaces": "five\b\b\b\bsix",
    "tab and bell": "five\t\x07six",
    "markup": "five[bold red]x[nothing]",
    "no character": "five\udce9",
}


def harmless(result, lines: int | None = None) -> None:
    """Nothing in what was printed moves a cursor, and no line begins as if it were ours."""
    shown = result.stdout + result.stderr
    assert all(c.isprintable() or c == "\n" for c in shown), repr(shown)
    assert not any(line.startswith("Error: forged") for line in shown.splitlines())
    assert "bug" not in shown
    if lines is not None:
        assert shown.count("\n") == lines, shown


@pytest.mark.parametrize("name", NAMES)
def test_photos(whole, tmp_path, trained, name):
    good, bad = tmp_path / f"{NAMES[name]}.png", tmp_path / f"{NAMES[name]}.jpg"
    with open(good, "wb") as file:
        photos.pencilled(5).save(file, "PNG")
    bad.write_bytes(b"no picture")
    found = whole("predict", "--model", "a", str(good), "-q")
    harmless(found, 1)
    assert found.exit_code == 0 and "five" in found.stdout
    harmless(whole("predict", "--model", "a", str(good), str(bad), str(tmp_path / NAMES[name])))
    pictures = whole("predict", "--model", "a", str(good), "--png", NAMES[name], "--json")
    harmless(pictures)
    assert json.loads(pictures.stdout)["images"][0]["digit"] == 5
    assert len(list((tmp_path / NAMES[name]).iterdir())) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["evaluate", "report", "summary", "draw", "explain"])
def test_run_folders(whole, tmp_path, trained, name, command):
    place = tmp_path / NAMES[name]
    missing = whole(command, str(place))
    harmless(missing, 1)
    assert missing.exit_code == 2
    (trained / "history.json").write_text("{")
    os.rename(trained, place)
    harmless(whole(command, str(place)), 1)


@pytest.mark.parametrize("name", NAMES)
def test_folders_that_are_written(whole, tmp_path, monkeypatch, name):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    run, args = whole, [*TRAIN[:-3], "--out", NAMES[name]]
    harmless(run(*args))
    harmless(run(*args[:-2], "--verbose", "--out", NAMES[name]))
    (tmp_path / "thesis").write_text("mine")
    os.rename(tmp_path / "thesis", tmp_path / f"{NAMES[name]}.txt")
    harmless(run(*args[:-2], "-q", "--out", f"{NAMES[name]}.txt"), 1)
    for command in ("draw", "report"):
        harmless(run(command, NAMES[name], "--out", f"{NAMES[name]}.html"))
    assert (tmp_path / f"{NAMES[name]}.html").exists()


@pytest.mark.parametrize("name", NAMES)
def test_data_sets_and_their_members(run, tmp_path, npz, name):
    path = tmp_path / f"{NAMES[name]}.npz"
    for command in (["data"], ["train", *TRAIN[1:]]):
        missing = run(*command, "--data", str(path), data=None)
        harmless(missing, 1)
        assert missing.exit_code == 2
    shutil.copy(npz, path)
    harmless(run("data", "--data", str(path), data=None))
    harmless(run(*TRAIN[:-3], "--out", "b", "--data", str(path), data=None))
    if name == "no character":
        return  # no archive takes such a name
    path.unlink()
    with open(path, "wb") as file:
        np.savez(file, **{NAMES[name]: np.zeros(3)})
    harmless(run("data", "--data", str(path), data=None), 1)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "no character"])
def test_names_of_layers_and_models(whole, tmp_path, trained, name):
    stack = [layers.Input((28, 28)), layers.Flatten(), layers.Dense(10, name=NAMES[name])]
    try:
        model = scratchnet.Sequential(stack, name=NAMES[name])
        model.compile("adam", "sparse_categorical_crossentropy", engine="reference")
        model.save(trained / "model.npz")
    except ValueError:
        return  # such a name is refused before it is anybody's
    for command in (["summary", "a"], ["draw", "a"], ["evaluate", "a", "-q"], ["explain", "a"]):
        harmless(whole(*command))
    shown = whole("summary", "a").stdout
    assert shown.count("\n") == whole("summary").stdout.count("\n") - 2 * 1 or "five" in shown


FIELDS = {
    "name of the data": ("data", "name"),
    "engine": ("settings", "engine"),
    "processor": ("environment", "cpu"),
    "hash": ("data", "test_sha256"),
    "kind": ("kind",),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", NAMES)
def test_fields_of_a_result(whole, trained, field, name):
    told = json.loads((trained / "result.json").read_text())
    inner = told
    for key in FIELDS[field][:-1]:
        inner = inner[key]
    inner[FIELDS[field][-1]] = NAMES[name]
    (trained / "result.json").write_text(json.dumps(told))
    for command in ("evaluate", "report", "summary", "draw"):
        harmless(whole(command, "a"))


def test_one_function_prints_and_it_keeps_a_line_a_line(capsys):
    for name in NAMES.values():
        screen.print_line(name)
        screen.say(name)
        out, err = capsys.readouterr()
        assert out == err and out.count("\n") == 1 and out[:-1].isprintable()


def test_json_has_no_raw_characters_either():
    text = to_json({name: name for name in NAMES.values()})
    assert text.isascii() and all(c.isprintable() or c == "\n" for c in text)
    assert json.loads(text) == {name: name for name in NAMES.values()}


def test_pages_hold_such_names_as_text(whole, tmp_path, trained):
    told = json.loads((trained / "result.json").read_text())
    told["data"]["name"] = "</title><script>alert(1)</script>\x1b[31m\u202e"
    (trained / "result.json").write_text(json.dumps(told))
    assert whole("report", "a", "--out", "r.html").exit_code == 0
    assert "<script>alert(1)" not in Path(tmp_path / "r.html").read_text()

"""Run folders that somebody edited or damaged: one error that names the file, never a bug."""

from __future__ import annotations

import copy
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import photos
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from scratchnet import datasets
from scratchnet.app import cli, pictures, run_schema, run_training, verdict
from scratchnet.app.cli import training
from scratchnet.app.cli.screen import Screen
from scratchnet.app.run_folder import RunError, read_run
from scratchnet.app.run_training import KERAS, OURS, RunSettings

BAD: list[Any] = [
    None, True, False, -1, 0, 7, 1.5, -0.5, 1e308, 1e99, 10**30, -(10**30),
    "", "x", "MNIST", "~nobody/x", "\ud800", "a\nError: b\x1b[31m", "\0", "/",
    [], [1], [[1, 2]], [None], {}, {"a": 1},
]  # fmt: skip


def beside_another(data, settings, progress, save_epoch, **_):
    """A comparison without Keras: our own answers under both names."""
    outcome = run_training.train_solo(data, settings, progress, save_epoch)
    number = len(data[1][1])
    outcome.scores[KERAS] = outcome.scores[OURS]
    outcome.histories[KERAS] = outcome.histories[OURS]
    outcome.result |= {
        "parity": True,
        "lockstep": {
            "holds": True,
            "steps": 3,
            "limit": 1e-12,
            "largest_weight_difference": 3e-14,
            "largest": {"loss": 0.25},
            "difference": None,
            "drift": [(1, 1e-15), (2, 2e-15), (3, 3e-15)],
        },
        KERAS: outcome.result[OURS],
        "speed_ratio": 2.5,
        "agreement": {
            "same": number,
            "of": number,
            "only_scratchnet_right": 0,
            "only_keras_right": 0,
            "mcnemar_p": 1.0,
        },
        "misread": run_training.misread(data[1][1], outcome.scores),
        "weight_difference": [1e-6, 2e-3],
    }
    save_epoch(outcome.model, outcome.histories | {"weight_difference": [1e-6, 2e-3]})
    return outcome


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    """A run of each kind, on the bundled digits, that every command takes."""
    base, made = tmp_path_factory.mktemp("runs"), {}
    data = tuple((x[:200], y[:200]) for x, y in datasets.digits.load_data())
    choice = datasets.Choice(datasets.digits.NAME, "the digits", data)
    settings = RunSettings(epochs=2, engine="reference")
    for kind, train in (("train", run_training.train_solo), ("compare", beside_another)):
        task = training.Task(kind, settings, choice, 200, base / kind, [kind])
        with pytest.MonkeyPatch.context() as patched:
            one = lambda folder, *_: folder.save_pictures({"curves": Figure()})  # noqa: E731
            patched.setattr(pictures, "draw", one)
            training.train_into_folder(task, train, Screen(quiet=True))
        made[kind] = base / kind
    photos.pencilled(5).save(base / "five.png")
    return made


def places(value: Any, place: tuple = ()):
    """Where something stands in a JSON value; of a list the first, middle and last."""
    yield place
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*place, name))
    elif isinstance(value, list) and value:
        for i in sorted({0, len(value) // 2, len(value) - 1}):
            yield from places(value[i], (*place, i))


def changed(value: Any, place: tuple, other: Any) -> Any:
    if not place:
        return other
    value = copy.deepcopy(value)
    inner = value
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = other
    return value


def removed(value: Any, place: tuple) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for name in place[:-1]:
        inner = inner[name]
    del inner[place[-1]]
    return value


COMMANDS = {
    "evaluate": ["evaluate", "RUN", "-q"],
    "report": ["report", "RUN", "--out", "OUT"],
    "summary": ["summary", "RUN"],
    "draw": ["draw", "RUN", "--out", "OUT"],
    "predict": ["predict", "--model", "RUN", "FIVE"],
    "explain": ["explain", "RUN", "--no-keras", "-q", "--out", "OUT"],
}


def tell(command: str, run: Path, whole: dict[str, Path]) -> None:
    """Run a command on a run; it ends well, or in one line that is no bug of ours."""
    words = {"RUN": str(run), "OUT": str(run.parent / "o.html")}
    words["FIVE"] = str(whole["train"].parent / "five.png")
    done = CliRunner().invoke(cli.app, [words.get(word, word) for word in COMMANDS[command]])
    assert done.exit_code in (0, 1, 2), (command, done.stderr, done.exception)
    assert "bug" not in done.stderr
    if done.exit_code == 2:
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("Error: ")
    assert not {"\x1b", "\x00"} & set(done.output)


# --- every field, every wrong value ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["result.json", "history.json"])
@pytest.mark.parametrize("kind", ["train", "compare"])
def test_every_field_is_held_against_the_table(whole, tmp_path, kind, name):
    """What is let through can be said in words; what is not names its file."""
    shutil.copytree(whole[kind], tmp_path / "run")
    file = tmp_path / "run" / name
    content, refused, taken = json.loads(file.read_text()), 0, 0
    for place in places(content):
        for other in [*BAD, ...]:
            if other is ... and not place:
                continue
            edited = removed(content, place) if other is ... else changed(content, place, other)
            file.write_text(json.dumps(edited))
            try:
                run = read_run(tmp_path / "run")
            except RunError as error:
                assert str(error).startswith(str(tmp_path / "run")) and "\n" not in str(error)
                refused += 1
            else:
                assert verdict.verdict(run.result)
                verdict.numbers(run.result)
                taken += 1
    assert refused > 500 and taken > 10


@pytest.mark.parametrize("seed", range(40))
def test_commands_on_edited_runs_end_well_or_in_one_line(whole, tmp_path, seed):
    rng = random.Random(seed)
    shutil.copytree(whole[rng.choice(["train", "compare"])], tmp_path / "run")
    file = tmp_path / "run" / rng.choice(["result.json", "history.json"])
    content = json.loads(file.read_text())
    for _ in range(50):  # until there is one that is not refused at once
        edited = changed(content, rng.choice(list(places(content))), rng.choice(BAD))
        file.write_text(json.dumps(edited))
        try:
            read_run(tmp_path / "run")
            break
        except RunError:
            tell("summary", tmp_path / "run", whole)
    if rng.random() < 0.3:
        (tmp_path / "run" / rng.choice(["result.json", "answers.npz"])).unlink()
    for command in COMMANDS:
        tell(command, tmp_path / "run", whole)


LOSSES = [0, 1e-300, 1e-12, 1e30, 1e99, None]


@pytest.mark.parametrize("loss", LOSSES)
def test_any_loss_can_be_drawn(whole, tmp_path, loss):
    shutil.copytree(whole["compare"], tmp_path / "run")
    file = tmp_path / "run" / "history.json"
    content = json.loads(file.read_text())
    for column in ("loss", "val_loss"):
        content["scratchnet"][column] = [loss] * 2
        content["keras"][column] = [loss, 0.5]
    file.write_text(json.dumps(content))
    file = tmp_path / "run" / "result.json"
    content = json.loads(file.read_text())
    content["lockstep"]["drift"] = [[1, loss or 0.0], [2, 0]]
    content["weight_difference"] = [loss or 0.0, 0]
    file.write_text(json.dumps(content))
    tell("report", tmp_path / "run", whole)
    assert (tmp_path / "o.html").exists()


# --- files as a whole -----------------------------------------------------------------------------

TEXTS = {
    "empty": b"",
    "no text": bytes(range(256)),
    "half": b'{"format": "scratchnet run 1", "kind": ',
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "another": b'{"format": "something else"}',
    "deep": b'{"format": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "NaN": b'{"format": "scratchnet run 1", "kind": "train", "parity": NaN}',
    "Infinity": b'{"format": "scratchnet run 1", "epochs": Infinity}',
    "twice": b'{"format": "scratchnet run 1", "kind": "train", "kind": "proof"}',
    "a long number": b'{"format": "scratchnet run 1", "epochs": ' + b"9" * 10_000 + b"}",
    "UTF-16": '{"format": "scratchnet run 1"}'.encode("utf-16"),
    "large": b'{"format": "' + b" " * 2**25 + b'"}',
}


@pytest.mark.parametrize("name", ["result.json", "history.json"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_file_that_is_no_such_json_is_one_line(whole, tmp_path, name, text):
    shutil.copytree(whole["train"], tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(TEXTS[text])
    with pytest.raises(RunError, match=name):
        read_run(tmp_path / "run")
    tell("report", tmp_path / "run", whole)


def arrays(path: Path, **changes: Any) -> None:
    with np.load(path) as kept:
        found = dict(kept)
    for name, array in changes.items():
        if array is None:
            del found[name]
        else:
            found[name] = array
    np.savez_compressed(path, **found)


def overlapping(path: Path) -> None:
    """Many entries for the same packed bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", bytes(10**6))
        first = archive.infolist()[0]
        for i in range(50):
            again = copy.copy(first)
            again.filename = again.orig_filename = f"a{i}.npy"
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
        archive._didModify = True


def bomb(path: Path) -> None:
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**8,)}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("labels.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(100):
            file.write(bytes(8 * 10**6))


N = 200
ANSWERS = {
    "no labels": lambda p: arrays(p, labels=None),
    "fewer labels": lambda p: arrays(p, labels=np.zeros(N - 1, np.uint8)),
    "no label at all": lambda p: arrays(p, labels=np.zeros(0, np.uint8)),
    "labels beyond 9": lambda p: arrays(p, labels=np.full(N, 10, np.uint8)),
    "negative labels": lambda p: arrays(p, labels=np.full(N, -1)),
    "labels as text": lambda p: arrays(p, labels=np.full(N, "a")),
    "labels as objects": lambda p: np.savez(p, labels=np.array([{}] * N, object)),
    "no logits": lambda p: arrays(p, scratchnet_logits=None),
    "eleven classes": lambda p: arrays(p, scratchnet_outputs=np.ones((N, 11), np.float32)),
    "complex": lambda p: arrays(p, scratchnet_logits=np.ones((N, 10), complex)),
    "not finite": lambda p: arrays(p, scratchnet_logits=np.full((N, 10), np.nan, np.float32)),
    "column-major": lambda p: arrays(p, scratchnet_logits=np.ones((N, 10), order="F")),
    "no index": lambda p: arrays(p, misread_index=None),
    "index of floats": lambda p: arrays(p, misread_index=np.zeros(3)),
    "too few images": lambda p: arrays(p, misread_images=np.zeros((1, 28, 28), np.uint8)),
    "flat images": lambda p: arrays(p, misread_images=np.zeros((N, 784), np.uint8)),
    "no archive": lambda p: p.write_bytes(b"PK"),
    "empty": lambda p: p.write_bytes(b""),
    "half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "overlapping": overlapping,
    "a bomb": bomb,
}


@pytest.mark.parametrize("harm", ANSWERS)
def test_answers_that_do_not_fit_are_one_line_and_no_page(whole, tmp_path, harm):
    shutil.copytree(whole["train"], tmp_path / "run")
    ANSWERS[harm](tmp_path / "run" / "answers.npz")
    with pytest.raises(RunError, match=r"answers\.npz"):
        _ = read_run(tmp_path / "run").answers
    tell("report", tmp_path / "run", whole)
    assert not (tmp_path / "o.html").exists()


def test_the_table_takes_what_the_commands_write_and_names_what_it_misses(whole):
    for kind in ("train", "compare"):
        run = read_run(whole[kind])
        run_schema.check_history(run.history)
        run_schema.check_result(run.result, run.history)
        for name in ("settings", "data", "kind", "interrupted", "epochs", "parity"):
            with pytest.raises(run_schema.SchemaError, match=f"^{name} is missing"):
                run_schema.check_result(removed(run.result, (name,)), run.history)

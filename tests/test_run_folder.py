"""Run folders under fire: killed writers, earlier runs, other people's files, two writers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from results import a_result

from scratchnet import Input, Sequential, layers, models
from scratchnet.app import run_folder, run_training
from scratchnet.app.run_folder import InUseError, RunError, RunFolder, read_run

COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")


def network(steps: int = 0) -> Sequential:
    """A small one whose optimizer has taken so many steps."""
    stack = [Input((2, 2)), layers.Flatten(), layers.Dense(10, "softmax")]
    model = Sequential(stack, seed=0)
    model.compile("adam", "sparse_categorical_crossentropy", engine="reference")
    x, y = np.ones((1, 2, 2)), np.zeros(1, int)
    for _ in range(steps):
        model.train_on_batch(x, y)
    return model


def history(epochs: int) -> dict[str, dict[str, list[float]]]:
    return {"scratchnet": {column: [0.5] * epochs for column in COLUMNS}}


def outcome(model: Sequential) -> run_training.Outcome:
    scores = {"scratchnet": run_training.Scores(np.ones((3, 10)), np.ones((3, 10)))}
    return run_training.Outcome(model, scores, {"misread": {"index": []}})


DATA = ((np.zeros((3, 2, 2), np.uint8), np.zeros(3, np.uint8)),) * 2


class Drawn(Figure):
    """A picture at once."""

    def savefig(self, file, **_):
        file.write(b"PNG")


def write(path: Path, epochs: int, seed: int, finish: bool = True) -> None:
    """A run of so many epochs, a step each, by all that the commands call."""
    with RunFolder(path, "train") as folder:
        for epoch in range(1, epochs + 1):
            folder.save_epoch(network(epoch), history(epoch))
        if not finish:
            return
        folder.save_model(network(epochs))
        folder.save_answers(outcome(network(epochs)), DATA)
        folder.save_result(a_result(epochs=epochs, settings={"seed": seed}))
        folder.save_pictures({"curves": Drawn(), "weights": Drawn()})


def consistent(path: Path) -> tuple[int | None, int]:
    """The seed of the finished run there, or None, and its epochs; model and history agree."""
    run = read_run(path)
    steps = models.load_model(run.model_file).optimizer.iterations
    assert run.epochs == steps
    if run.result:
        assert run.result["epochs"] == steps and run.answers["labels"].tolist() == [0, 0, 0]
        return run.result["settings"]["seed"], steps
    # What anyone sees who opens the two files agrees as well.
    shown = json.loads((path / "history.json").read_text())["scratchnet"]["loss"]
    assert len(shown) == models.load_model(path / "model.npz").optimizer.iterations
    return None, steps


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


WHOLE = ["answers.npz", "history.json", "model.npz", "pictures", "result.json"]


# --- killed at any moment -------------------------------------------------------------------------

CALLS = ("replace", "symlink", "link", "unlink", "mkdir", "rmdir", "fsync", "open")


def killed_at(moment: int, work) -> bool:
    """Do the work in a process of its own that dies in its so-manieth call to the system."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    calls = 0

    def mortal(call):
        def counted(*args, **options):
            nonlocal calls
            calls += 1
            if calls == moment:
                os._exit(9)
            return call(*args, **options)

        return counted

    for name in CALLS:
        setattr(os, name, mortal(getattr(os, name)))
    try:
        work()
    finally:
        os._exit(0)
    return False


@pytest.fixture
def no_flush(monkeypatch):
    """A killed process loses nothing that the system has, so nobody waits for a disk here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def moments(work, before) -> int:
    """Kill the work at each of its calls; after each, call `before(moment)`; how many there are."""
    moment = 1
    while killed_at(moment, work):
        before(moment)
        moment += 1
    return moment - 1


def test_a_new_run_that_is_killed_anywhere_is_whole_epochs_and_the_next_goes_on(tmp_path, no_flush):
    seen = set()

    def check(moment):
        path = tmp_path / str(moment)
        if path.exists() and (path / "model.npz").exists():
            seen.add(consistent(path))
        write(path, 2, seed=7)  # the same folder is taken again, whatever was left in it
        assert consistent(path) == (7, 2) and names(path) == WHOLE
        pointer["path"] = tmp_path / str(moment + 1)

    pointer = {"path": tmp_path / "1"}
    count = moments(lambda: write(pointer["path"], 2, seed=1), check)
    assert count > 60
    assert seen == {(None, 1), (None, 2), (1, 2)}


def test_a_run_over_another_that_is_killed_anywhere_leaves_one_of_the_two_whole(tmp_path, no_flush):
    seen = set()

    def prepare(number):
        pointer["path"] = tmp_path / str(number)
        write(pointer["path"], 2, seed=1)
        (pointer["path"] / "notes.txt").write_text("mine")
        (pointer["path"] / "pictures" / "own.png").write_bytes(b"mine")

    def check(moment):
        path = pointer["path"]
        seen.add(consistent(path))
        assert (path / "pictures" / "own.png").read_bytes() == b"mine"
        assert (path / "notes.txt").read_text() == "mine"
        write(path, 1, seed=3)
        assert consistent(path) == (3, 1)
        assert names(path) == sorted([*WHOLE, "notes.txt"])
        assert names(path / "pictures") == ["curves.png", "own.png", "weights.png"]
        prepare(moment + 1)

    pointer: dict[str, Path] = {}
    prepare(1)
    assert moments(lambda: write(pointer["path"], 1, seed=2), check) > 60
    assert seen == {(1, 2), (2, 1)}, "neither run, or a mixture"


# --- over an earlier run --------------------------------------------------------------------------


@pytest.mark.parametrize("finish", [True, False], ids=["finished", "cut off"])
def test_an_earlier_run_stays_as_it_is_until_the_new_one_is_finished(tmp_path, finish):
    write(tmp_path, 2, seed=1, finish=finish)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    folder = RunFolder(tmp_path, "train")
    for epoch in (1, 2, 3):
        folder.save_epoch(network(epoch), history(epoch))
        assert all(p.read_bytes() == content for p, content in before.items())
        assert consistent(tmp_path) == (1 if finish else None, 2)
    assert folder.discard(), "what was there is what is kept"
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_picture_of_the_users_own_keeps_its_name(tmp_path):
    write(tmp_path, 1, seed=1)
    pictures = tmp_path / "pictures"
    (pictures / "curves.png").unlink()
    told = json.loads((tmp_path / "result.json").read_text())
    told["pictures"] = ["pictures/weights.png"]
    (tmp_path / "result.json").write_text(json.dumps(told))
    (pictures / "curves.png").write_bytes(b"mine")
    write(tmp_path, 1, seed=2)
    assert names(pictures) == ["curves-2.png", "curves.png", "weights.png"]
    assert (pictures / "curves.png").read_bytes() == b"mine"
    assert read_run(tmp_path).result["pictures"][0] == "pictures/curves-2.png"


@pytest.mark.parametrize(
    "named",
    ["../outside.png", "pictures/../outside.png", "{outside}", "pictures/deep/x.png", "notes.txt"],
)
def test_a_list_of_pictures_that_was_edited_deletes_nothing_elsewhere(tmp_path, named):
    run, outside = tmp_path / "run", tmp_path / "outside.png"
    write(run, 1, seed=1)
    deep = run / "pictures" / "deep" / "x.png"
    deep.parent.mkdir()
    for path in (outside, deep, run / "notes.txt", run / "outside.png"):
        path.write_bytes(b"mine")
    told = json.loads((run / "result.json").read_text())
    told["pictures"] = [named.format(outside=outside)]
    (run / "result.json").write_text(json.dumps(told))
    write(run, 1, seed=2)
    for path in (outside, deep, run / "notes.txt", run / "outside.png"):
        assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("what", ["folder", "picture", "report.html", "model.npz", "run"])
def test_nothing_is_deleted_through_a_link(tmp_path, what):
    run, away = tmp_path / "run", tmp_path / "away"
    write(run, 1, seed=1)
    (run / "report.html").write_text("a page")
    place = {"folder": "pictures", "picture": "pictures/curves.png", "run": "."}.get(what, what)
    os.rename(run / place if what != "run" else run, away)
    os.symlink(away, run if what == "run" else run / place)
    before = {p: p.read_bytes() for p in ([away] if away.is_file() else away.rglob("*.png"))}
    if what == "folder":
        with RunFolder(run, "train") as folder:
            assert not folder.takes_pictures(), "it would write through the link"
            folder.save_epoch(network(1), history(1))
            folder.save_result(a_result(epochs=1))
    else:
        write(run, 1, seed=2)
    if what == "run":
        assert run.is_symlink() and consistent(away) == (2, 1)
    else:
        assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize(
    "left",
    [["pictures"], [".scratchnet-next"], [".scratchnet-1.tmp"], ["pictures", ".scratchnet-x"]],
)
def test_what_a_killed_writer_left_is_no_reason_to_refuse(tmp_path, left):
    for name in left:
        (tmp_path / name).mkdir()
    write(tmp_path, 1, seed=1)
    assert consistent(tmp_path) == (1, 1)


def test_pictures_alone_that_are_somebodys_are_one(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cat.png").write_bytes(b"mine")
    with pytest.raises(RunError, match="holds something else than a run"):
        RunFolder(tmp_path, "train")
    assert names(tmp_path) == ["pictures"] and names(tmp_path / "pictures") == ["cat.png"]


@pytest.mark.parametrize("name", run_folder.FILES)
def test_a_folder_where_a_file_belongs_is_refused_before_anything_is_written(tmp_path, name):
    write(tmp_path, 1, seed=1)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(RunError, match=r"is a folder|holds something else"):
        RunFolder(tmp_path, "train")
    assert not list(tmp_path.glob(".*"))


def test_a_file_system_without_links_gets_plain_files(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refused)
    monkeypatch.setattr(os, "link", refused)
    write(tmp_path, 2, seed=1)
    write(tmp_path, 1, seed=2)
    assert consistent(tmp_path) == (2, 1) and names(tmp_path) == WHOLE


def test_who_reads_while_epochs_pass_sees_one_of_them(tmp_path):
    with RunFolder(tmp_path, "train") as folder:
        folder.save_epoch(network(1), history(1))
        run = read_run(tmp_path)
        folder.save_epoch(network(2), history(2))
        assert (run.epochs, models.load_model(run.model_file).optimizer.iterations) == (1, 1)


# --- two writers ----------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path):
    with RunFolder(tmp_path / "run", "train") as folder:
        folder.save_epoch(network(1), history(1))
        for _ in range(2):
            with pytest.raises(InUseError, match="is in use: another process is writing a run"):
                RunFolder(tmp_path / "run", "train")
        assert consistent(tmp_path / "run") == (None, 1)
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "run")
        with pytest.raises(InUseError):
            RunFolder(link, "compare")
    write(tmp_path / "run", 1, seed=1)


def test_a_lock_dies_with_its_owner(tmp_path):
    code = (
        "import sys, time; from scratchnet.app.run_folder import RunFolder; "
        "folder = RunFolder(sys.argv[1], 'train'); print('mine', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout.readline() == "mine\n"
    with pytest.raises(InUseError):
        RunFolder(tmp_path / "run", "train")
    owner.kill()
    owner.wait()
    owner.stdout.close()
    write(tmp_path / "run", 1, seed=1)


def test_a_folder_that_its_owner_takes_away_is_begun_anew(tmp_path, monkeypatch):
    """Between a second writer's look at the folder and its lock."""
    honest, gone = run_folder.atomic.lock, []

    def lock(descriptor):
        if not gone:
            gone.append(True)
            (tmp_path / "run").rmdir()
        return honest(descriptor)

    monkeypatch.setattr(run_folder.atomic, "lock", lock)
    write(tmp_path / "run", 1, seed=1)
    assert consistent(tmp_path / "run") == (1, 1)

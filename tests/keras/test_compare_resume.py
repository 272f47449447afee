"""`scratchnet compare --resume`: both models go on after the last epoch that both were through."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_ref import compare  # noqa: E402
from scratchnet import saving  # noqa: E402
from scratchnet.app import run_training  # noqa: E402
from scratchnet.app.run_folder import RunCheckpoints, RunFolder  # noqa: E402
from scratchnet.saving import SavedStateError  # noqa: E402

SETTINGS = run_training.RunSettings(epochs=3, batch_size=16, engine="reference")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The lockstep before it takes longest, and is not what is tested here."""
    found = {"holds": True, "drift": [(1, 1e-16), (2, 2e-16)], "limit": 1e-12}
    monkeypatch.setattr(compare, "check_parity", lambda *_: found)


def data():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (90, 8, 8)).astype(np.uint8)
    y = rng.integers(0, 10, 90)
    return (x[:60], y[:60]), (x[60:], y[60:])


class CutOffError(Exception):
    pass


def left(outcome):
    columns = {
        name: {column: v for column, v in history.items() if column != "seconds"}
        for name, history in outcome.histories.items()
    }
    scores = {name: found.outputs.tobytes() for name, found in outcome.scores.items()}
    return outcome.model.theta.tobytes(), columns, scores, outcome.drifts, outcome.result["misread"]


def cut_off(folder, after):
    """Checkpoints of a training that ends when so many have been written."""
    kept = RunCheckpoints(folder)
    kept.written = []

    def save(state):
        RunCheckpoints.save(kept, state)
        kept.written.append(state)
        if len(kept.written) == after:
            raise CutOffError

    kept.save = save
    return kept


@pytest.mark.parametrize("cut", [1, 2])
def test_both_end_as_if_nothing_had_happened(cut, tmp_path, monkeypatch):
    wanted = left(compare.compare(data(), SETTINGS))
    with RunFolder(tmp_path / "a", "compare", {}) as folder:
        kept = cut_off(folder, cut)
        with pytest.raises(CutOffError):
            compare.compare(data(), SETTINGS, save_epoch=folder.save_epoch, backup=kept)
    with RunFolder(tmp_path / "a", "compare", {}, resumed=True) as folder:
        outcome = compare.compare(
            data(), SETTINGS, save_epoch=folder.save_epoch, backup=RunCheckpoints(folder)
        )
    assert left(outcome) == wanted


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    with RunFolder(tmp_path / "a", "compare", {}) as folder:
        compare.compare(data(), SETTINGS, backup=RunCheckpoints(folder))
        state = saving.load(folder.checkpoint)
        for config in ({"ours": {}}, {"histories": None}, {"apart": 3}):
            saving.save(folder.checkpoint, state._replace(config=state.config | config))
            folder.resumed = True
            with pytest.raises(SavedStateError, match=r"checkpoint\.npz"):
                compare.compare(data(), SETTINGS, backup=RunCheckpoints(folder))


@pytest.mark.parametrize("cut", [1, 2])
def test_a_proof_ends_as_if_nothing_had_happened(cut, tmp_path):
    def told(outcome):
        numbers = {k: v for k, v in outcome.result["lockstep"].items() if k != "seconds"}
        scores = {name: found.outputs.tobytes() for name, found in outcome.scores.items()}
        return outcome.model.theta.tobytes(), numbers, scores, outcome.drifts

    wanted = compare.prove(data(), SETTINGS)
    assert wanted.result["parity"]
    with RunFolder(tmp_path / "a", "proof", {}) as folder:
        kept = cut_off(folder, cut)
        written = kept.written
        with pytest.raises(CutOffError):
            compare.prove(data(), SETTINGS, save_epoch=folder.save_epoch, backup=kept)
    with RunFolder(tmp_path / "a", "proof", {}, resumed=True) as folder:
        kept = RunCheckpoints(folder)
        outcome = compare.prove(data(), SETTINGS, save_epoch=folder.save_epoch, backup=kept)
        assert told(outcome) == told(wanted)
        saving.save(folder.checkpoint, written[0]._replace(config={"format": compare.FORMAT}))
        with pytest.raises(
            SavedStateError, match=r"checkpoint\.npz.*expected 'scratchnet proof 1'"
        ):
            compare.prove(data(), SETTINGS, backup=kept)

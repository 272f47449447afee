"""A study's cell in Keras: the same start, the same order, and a row of the same kind as ours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keras_ref import cell_run_keras
from scratchnet.app.cli.study import run_cell
from scratchnet.app.study import cell_run
from scratchnet.app.study.cells import Cell


@pytest.fixture(autouse=True)
def threads_as_they_are(monkeypatch):
    """TensorFlow runs already in a process of tests, and takes no other number of threads."""
    monkeypatch.setattr(cell_run_keras, "limit_threads", lambda threads: None)


CELL = Cell(data="digits", epochs=1, batch_size=48, framework="keras", dtype="float64")


def test_a_cell_of_keras_is_ours_in_float64_and_repeats_its_bits():
    """Rounding alone parts them in 30 steps of float64: no test image is on the edge."""
    theirs, again = run_cell(CELL), cell_run_keras.run(CELL)
    ours = cell_run.run(replace(CELL, framework="scratchnet"))
    told = [{k: v for k, v in row.items() if "seconds" not in k} for row in (theirs, again)]
    assert told[0] == told[1]
    assert theirs.keys() == ours.keys() and theirs["ran_on"] == "tensorflow"
    assert theirs["answers"] == ours["answers"] and theirs["key"] != ours["key"]
    for name in ("loss", "val_loss"):
        assert np.allclose(theirs[name], ours[name], rtol=1e-6), name  # Keras's means are float32
    assert len(theirs["epoch_seconds"]) == 1


def test_keras_sees_the_cells_own_head_rate_and_optimizer():
    cell = replace(CELL, head="softmax", optimizer="sgd", rate_rule="sqrt", widths=(20,))
    theirs, ours = run_cell(cell), cell_run.run(replace(cell, framework="scratchnet"))
    assert np.allclose(theirs["loss"], ours["loss"], rtol=1e-6)
    assert theirs["answers"] == ours["answers"]

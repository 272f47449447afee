"""A study's cell, run by Keras: same start, same samples in the same order as ours.

The order of each epoch is drawn from our model's own generator, as `fit(shuffle=True)` draws it;
TensorFlow gets one thread, so that a cell gives the same bits anywhere. The rest of the row is made
where ours is, in `scratchnet/app/study/cell_run.py`.
"""

from __future__ import annotations

import keras

from keras_ref import bridge
from keras_ref.compare import keras_scores, limit_threads
from scratchnet.app.run_training import KERAS, RunSettings, train_together
from scratchnet.app.study import cell_run
from scratchnet.app.study.cells import Cell


def run(cell: Cell, threads: int = 1) -> cell_run.Row:
    """Train and test the cell's network with Keras; its row."""
    limit_threads(threads)
    data = cell_run.load(cell.data)
    (x, _), (x_test, _) = data
    with bridge.floatx(cell.dtype):
        ours = cell_run.build(cell, x.shape[1:])
        twin = bridge.twin(ours)
        settings = RunSettings(cell.epochs, cell.batch_size)
        (*_, histories) = train_together({KERAS: twin}, data, settings, ours.rng)
        scores = keras_scores(twin, x_test)
    history = histories[KERAS]
    made = cell_run.row(cell, history, history["seconds"], scores, data, "tensorflow")
    keras.backend.clear_session()  # else each cell's graphs stay in the worker's memory
    return made

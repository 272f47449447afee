"""The course's proof with Keras beside it: `python -m keras_ref.course`, started by the course.

The learner's functions train in `lockstep.py`, every tensor of every step compared with Keras's,
and Keras takes its turn in each timed epoch. Read `scratchnet/app/course/proving.py` for the rest.
"""

from __future__ import annotations

import sys
from typing import Any

from keras_ref import bridge, compare
from keras_ref.lockstep import lockstep
from scratchnet import Sequential
from scratchnet.app.course import proving
from scratchnet.app.run_training import RunSettings
from scratchnet.datasets import Data


def in_lockstep(model: Sequential, data: Data, settings: RunSettings) -> dict[str, Any]:
    """One epoch: steps, the largest difference as a share of its tensor's scale, the first fault.

    The model's engine is anybody's, and its dtype float64.
    """
    with bridge.floatx(model.theta.dtype):
        report = lockstep(
            model, *data[0], tolerance=proving.LARGEST, batch_size=settings.batch_size
        )
    difference = None if report.difference is None else str(report.difference)
    largest = max(report.largest.values(), default=0.0)
    return {"steps": report.steps, "largest": largest, "difference": difference}


def twin(model: Sequential, data: Data, settings: RunSettings) -> Any:
    """Keras's copy of a model, which has traced its training step."""
    copy = bridge.twin(model)
    compare.warm_up_keras(model, copy, data, settings)
    return copy


if __name__ == "__main__":
    proving.main(sys.argv[1:], rival=proving.Rival("keras", in_lockstep, twin))

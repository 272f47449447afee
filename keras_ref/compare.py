"""The main job: our network and its Keras twin side by side, and whether they are the same.

`compare` proves first and times afterwards: 200 float64 steps in lockstep, then both trained in
float32 on the same samples in the same order, epoch by epoch. Float32 training is chaotic, so at
its end only statistics can tell (McNemar's exact test); on raw pixels the same code scores 71 to
81 % by seed, so there the lockstep alone decides. `prove` is the whole training in lockstep, in
float64. Ctrl-C ends either where both models stand at the same point. It draws nothing and prints
nothing: `scratchnet/app/cli/compare.py` does.
"""

from __future__ import annotations

import statistics
import time
from copy import deepcopy
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from keras_ref import bridge
from keras_ref.lockstep import Lockstep, LockstepReport, lockstep
from scratchnet import Sequential, models, resuming
from scratchnet.app import run_training
from scratchnet.app.run_training import (
    KERAS,
    OURS,
    Histories,
    Outcome,
    ProgressListener,
    RunSettings,
    SaveEpoch,
    Scores,
)
from scratchnet.callbacks import BackupAndRestore
from scratchnet.datasets import Data
from scratchnet.engines import Array
from scratchnet.process import Interruptible
from scratchnet.saving import State

STEPS = 200
LIMIT = 1e-12
CHAOS = 30
"""How many times its own one-ulp twin's drift a training may drift, if that is over `LIMIT`."""
CHANCE = 0.001
"""Disagreement less likely than this is no chance."""


def compare(
    data: Data,
    settings: RunSettings,
    progress: ProgressListener | None = None,
    save_epoch: SaveEpoch | None = None,
    backup: BackupAndRestore | None = None,
) -> Outcome:
    """Train both; `result["parity"]` says whether they are the same.

    With a `backup` both go on after the last epoch that is there, and each epoch is kept.
    """
    progress = progress or ProgressListener()
    state = None if backup is None else backup.load()
    if state is None:
        with bridge.floatx("float64"):
            checked = check_parity(data, settings, progress)
    else:
        checked = resuming.decoded(state.config.get("checked", {}), state.arrays)
        checked["drift"] = [(step, apart) for step, apart in checked.get("drift", [])]
    with bridge.floatx("float32"):
        return _side_by_side(data, settings, progress, save_epoch, checked, backup, state)


def _side_by_side(
    data: Data,
    settings: RunSettings,
    progress: ProgressListener,
    save_epoch: SaveEpoch | None,
    checked: dict[str, Any],
    backup: BackupAndRestore | None,
    state: State | None,
) -> Outcome:
    """The float32 training of both, timed."""
    model = run_training.build_model(settings, data)
    copy = bridge.twin(model)
    progress.begin("compiling and tracing", 2)
    warm = {OURS: run_training.warm_up_ours(model, data, settings)}
    progress.advance()
    warm[KERAS] = warm_up_keras(model, copy, data, settings)
    progress.end()

    steps = -(-len(data[0][0]) // settings.batch_size)
    drift: list[tuple[int, float]] = []
    histories: Histories = {}
    before, finished, interrupted = None, None, False
    if state is not None:
        assert backup is not None
        try:
            before, apart, warm = _restore(model, copy, state)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise backup.error(f"can't be gone on from: {error or 'it is damaged'}") from error
        histories = before
        drift = [(steps * (i + 1), value) for i, value in enumerate(apart)]
        finished = Finished(model, copy, histories, drift)
    try:
        for histories in run_training.train_together(
            {OURS: model, KERAS: copy}, data, settings, model.rng, progress, before
        ):
            with Interruptible():  # what is kept and what is restored tell of the same epoch
                drift.append((steps * (len(drift) + 1), distance(model, copy)))
                finished = Finished(model, copy, histories, drift)
                if save_epoch is not None:
                    save_epoch(
                        model, {**histories, "weight_difference": [apart for _, apart in drift]}
                    )
                if backup is not None:
                    apart = [value for _, value in drift]
                    told = {"histories": histories, "apart": apart, "warm": warm}
                    backup.save(_state(model, copy, FORMAT, told | {"checked": checked}))
    except KeyboardInterrupt:
        if finished is None:
            raise
        model = run_training.restored(finished.ours, settings.engine, settings.threads)
        copy.set_weights(finished.keras)
        histories, drift, interrupted = finished.histories, finished.drift, True

    def score() -> Outcome:
        scores = {
            OURS: run_training.scores_of(model, data[1][0]),
            KERAS: keras_scores(copy, data[1][0]),
        }
        agreed = agreement(data[1][1], scores[OURS].answers, scores[KERAS].answers)
        result = {
            "parity": checked["holds"] and (not settings.scaled or agreed["mcnemar_p"] >= CHANCE),
            "lockstep": {**checked, "drift": thinned(checked["drift"])},
            **{name: run_training.last_figures(histories[name], warm[name]) for name in histories},
            "speed_ratio": _ratio(histories),
            "agreement": agreed,
            "misread": run_training.misread(data[1][1], scores),
            "weight_difference": [apart for _, apart in drift],
            "tensorflow": tensorflow_settings(),
        }
        drifts = {
            "float32 training, each epoch": drift,
            "float64 lockstep, each step": checked["drift"],
        }
        return Outcome(model, scores, result, histories, drifts, checked["limit"], interrupted)

    return run_training.finished(score)


class Finished:
    """Everything as the last finished epoch left it, which training on leaves alone."""

    def __init__(
        self,
        model: Sequential,
        copy: keras.Sequential,
        histories: Histories,
        drift: list[tuple[int, float]],
    ):
        self.ours, self.keras = run_training.snapshot(model), copy.get_weights()
        self.histories, self.drift = deepcopy(histories), [*drift]


FORMAT = "scratchnet comparison 1"


def _state(model: Sequential, copy: keras.Sequential, form: str, told: dict[str, Any]) -> State:
    """All that decides the rest of a comparison, after an epoch, and what is told of it."""
    mine = run_training.snapshot(model)
    theirs = [np.asarray(variable) for variable in (*copy.weights, *copy.optimizer.variables)]
    arrays = {f"ours/{name}": array for name, array in mine.arrays.items()}
    for i, array in enumerate(theirs):
        arrays[f"keras/{i}"] = array if array.dtype.kind == "f" else array.astype(np.float64)
    config = {name: resuming.encoded(value, arrays, name) for name, value in told.items()}
    return State({"format": form, "ours": mine.config, **config}, arrays)


def _restore(
    model: Sequential, copy: keras.Sequential, state: State
) -> tuple[Histories, list[float], dict[str, float]]:
    """Make both what they were then: the histories, the distances and the seconds of before."""
    told = _restored(model, copy, state, FORMAT, ("histories", "apart", "warm"))
    histories, apart, warm = told
    if not (isinstance(histories, dict) and isinstance(apart, list) and isinstance(warm, dict)):
        raise ValueError("it is damaged")
    return histories, apart, warm


def _restored(
    model: Sequential, copy: keras.Sequential, state: State, form: str, names: tuple[str, ...]
) -> list[Any]:
    """Make both what they were then, and say what was told by these names."""
    config, arrays = state
    if config["format"] != form:
        raise ValueError(f"its format is {config['format']!r:.40}, expected {form!r}")
    own = {n.removeprefix("ours/"): a for n, a in arrays.items() if n.startswith("ours/")}
    before = models.model_of(State(config["ours"], own))
    model.theta[...] = before.theta
    model.optimizer.build(model.theta)
    for name, slot in before.optimizer.slots.items():
        model.optimizer.slots[name][...] = slot
    model.optimizer.iterations = before.optimizer.iterations
    model.rng.bit_generator.state = before.rng.bit_generator.state
    for i, variable in enumerate((*copy.weights, *copy.optimizer.variables)):
        variable.assign(arrays[f"keras/{i}"].astype(variable.dtype))
    return [resuming.decoded(config[name], arrays) for name in names]


PROOF = "scratchnet proof 1"


def _begun(both: Lockstep, backup: BackupAndRestore | None) -> float:
    """Go on with a proof that was cut off, if there is one: the seconds that it took before."""
    state = None if backup is None else backup.load()
    if backup is None or state is None:
        return 0.0
    names, report = ("steps", "drift", "largest", "seconds"), both.report
    try:
        steps, drift, largest, seconds = _restored(both.model, both.copy, state, PROOF, names)
        report.steps, report.largest = int(steps), dict(largest)
        report.drift = [(int(step), float(apart)) for step, apart in drift]
        return float(seconds)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise backup.error(f"can't be gone on from: {error or 'it is damaged'}") from error


def prove(
    data: Data,
    settings: RunSettings,
    progress: ProgressListener | None = None,
    save_epoch: SaveEpoch | None = None,
    backup: BackupAndRestore | None = None,
) -> Outcome:
    """The whole training in float64, in lockstep; parity is every step and every prediction.

    With a `backup` it goes on after the last epoch that is there, and each epoch is kept.
    """
    with bridge.floatx("float64"):
        return _in_lockstep(data, settings, progress or ProgressListener(), save_epoch, backup)


def _in_lockstep(
    data: Data,
    settings: RunSettings,
    progress: ProgressListener,
    save_epoch: SaveEpoch | None,
    backup: BackupAndRestore | None,
) -> Outcome:
    (x, y), (x_test, y_test) = data
    model = run_training.build_model(settings, data, "float64")
    copy = bridge.twin(model)
    epoch = -(-len(x) // settings.batch_size)
    both = Lockstep(model, LIMIT, copy)
    before = _begun(both, backup)
    progress.begin("float64 lockstep", settings.epochs * epoch - both.report.steps)
    start, interrupted = time.perf_counter() - before, False

    seen: list[LockstepReport] = []

    def on_step(report: LockstepReport) -> None:
        seen[:] = [report]
        progress.now(f"drift {report.drift[-1][1]:.1e}")
        progress.advance()
        if save_epoch is not None and report.steps % epoch == 0:
            save_epoch(model, {"lockstep": thinned(report.drift)})
        if backup is not None and report.steps % epoch == 0 and report.difference is None:
            told = {name: getattr(report, name) for name in ("steps", "drift", "largest")}
            told |= {"drift": np.array(report.drift), "seconds": time.perf_counter() - start}
            backup.save(_state(model, copy, PROOF, told))
        interrupt.poll()

    try:
        with Interruptible() as interrupt:
            report = both.run(
                model.batch(x, y, None),
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                rng=model.rng,
                on_step=on_step,
            )
    except KeyboardInterrupt:
        if not seen:
            raise
        report, interrupted = seen[0], True
    seconds = time.perf_counter() - start
    progress.end()

    def score() -> Outcome:
        scores = {OURS: run_training.scores_of(model, x_test), KERAS: keras_scores(copy, x_test)}
        agreed = agreement(y_test, scores[OURS].answers, scores[KERAS].answers)
        told = told_of(report, LIMIT)
        result = {
            "parity": told["holds"] and agreed["same"] == agreed["of"],
            "lockstep": {**told, "drift": thinned(report.drift), "seconds": seconds},
            "agreement": agreed,
            "misread": run_training.misread(y_test, scores),
            "tensorflow": tensorflow_settings(),
        }
        drifts = {"float64 lockstep, each step": report.drift}
        return Outcome(model, scores, result, drifts=drifts, limit=LIMIT, interrupted=interrupted)

    return run_training.finished(score)


def keras_scores(copy: keras.Sequential, x: Array) -> Scores:
    """What Keras's model says of x (N, ...); its last layer is dense."""
    head = copy.layers[-1]
    outputs = copy.predict(x, batch_size=run_training.TEST_BATCH, verbose=0)
    hidden = keras.Model(copy.inputs, head.input).predict(
        x, batch_size=run_training.TEST_BATCH, verbose=0
    )
    kernel, bias = head.get_weights()
    return Scores(outputs, hidden @ kernel + bias)


# --- before the clock starts ----------------------------------------------------------------------


def warm_up_keras(
    model: Sequential, copy: keras.Sequential, data: Data, settings: RunSettings
) -> float:
    """Seconds for Keras's first batches; then weights, slots and counter are as `model` has them.

    Keras traces once for each model, so a throwaway copy would leave the tracing to the clock.
    """
    seconds = run_training.first_batches(copy, data, settings)
    bridge.carry_weights(model, copy)
    model.optimizer.build(model.theta)  # carry_slots carries the slots that exist
    bridge.carry_slots(model, copy)
    return seconds


# --- are they the same ----------------------------------------------------------------------------


def check_parity(data: Data, settings: RunSettings, progress: ProgressListener) -> dict[str, Any]:
    """200 float64 steps in lockstep: do all tensors stay within the limit?

    Raw pixels amplify rounding beyond 1e-12 in any implementation. For them the limit is measured:
    30 times how far our own network drifts from itself when it starts one ulp away.
    """
    limit = LIMIT if settings.scaled else max(LIMIT, CHAOS * twin_drift(data, settings))
    model = run_training.build_model(settings, data, "float64")
    progress.begin("float64 lockstep", STEPS)
    report = lockstep(
        model,
        *data[0],
        steps=STEPS,
        batch_size=settings.batch_size,
        rng=model.rng,
        tolerance=limit,
        on_step=lambda _: progress.advance(),
    )
    progress.end()
    told = told_of(report, limit)
    return {**told, "holds": told["holds"] and report.steps == STEPS, "drift": report.drift}


def told_of(report: LockstepReport, limit: float) -> dict[str, Any]:
    """A report as plain data; it holds where nothing differed and no weight left the limit."""
    return {
        "holds": report.difference is None and report.largest_drift <= limit,
        "steps": report.steps,
        "limit": limit,
        "largest_weight_difference": report.largest_drift,
        "largest": report.largest,
        "difference": None if report.difference is None else str(report.difference),
    }


def twin_drift(data: Data, settings: RunSettings) -> float:
    """The largest drift within 200 steps of our network from itself, started one ulp higher."""
    (x, y), (rng, model, twin) = data[0], _pair(data, settings)
    largest, order = 0.0, np.zeros(0, np.intp)
    for _ in range(STEPS):
        if len(order) == 0:
            order = rng.permutation(len(x))
        rows, order = order[: settings.batch_size], order[settings.batch_size :]
        for trained in (model, twin):
            trained.train_on_batch(x[rows], y[rows])
        largest = max(largest, float(np.max(np.abs(model.theta - twin.theta))))
    return largest


def _pair(data: Data, settings: RunSettings) -> tuple[np.random.Generator, Sequential, Sequential]:
    model, twin = (run_training.build_model(settings, data, "float64") for _ in range(2))
    twin.theta[...] = np.nextafter(twin.theta, np.inf)
    return model.rng, model, twin


def agreement(truth: Array, ours: Array, theirs: Array) -> dict[str, Any]:
    """How two sets of answers (N,) agree, and whether one is right more often than by chance.

    McNemar's exact test: of the images that just one of two equally good models has right, each has
    as many as a fair coin gives it.

    >>> found = agreement(np.array([1, 2, 3]), np.array([1, 2, 0]), np.array([1, 9, 0]))
    >>> found["same"], found["only_scratchnet_right"], found["mcnemar_p"]
    (2, 1, 1.0)
    """
    right, theirs_right = ours == truth, theirs == truth
    only_ours = int(np.sum(right & ~theirs_right))
    only_theirs = int(np.sum(theirs_right & ~right))
    split = only_ours + only_theirs
    return {
        "same": int(np.sum(ours == theirs)),
        "of": len(truth),
        f"only_{OURS}_right": only_ours,
        f"only_{KERAS}_right": only_theirs,
        "mcnemar_p": float(stats.binomtest(only_ours, split).pvalue) if split else 1.0,
    }


def distance(model: Sequential, copy: keras.Sequential) -> float:
    """The largest difference of any weight."""
    pairs = zip(model.weights, copy.get_weights(), strict=True)
    return max(float(np.max(np.abs(ours - theirs))) for ours, theirs in pairs)


# --- numbers --------------------------------------------------------------------------------------


def _ratio(histories: Histories) -> float:
    ours, theirs = (statistics.median(histories[name]["seconds"]) for name in (OURS, KERAS))
    return theirs / ours


def limit_threads(threads: int) -> None:
    """Hold TensorFlow to so many threads; it takes that only before it has computed anything.

    Raises:
        ValueError: where it has begun with another number.
    """
    settings = tf.config.threading
    if settings.get_intra_op_parallelism_threads() == threads:
        return
    try:
        settings.set_intra_op_parallelism_threads(threads)
        settings.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        raise ValueError(
            f"threads={threads}: TensorFlow runs already, and keeps the threads it began with. "
            "Start a new process."
        ) from None


def tensorflow_settings() -> dict[str, Any]:
    """What decides TensorFlow's speed and rounding; 0 threads means as many as there are CPUs."""
    threads = tf.config.threading
    return {
        "intra_op_threads": threads.get_intra_op_parallelism_threads(),
        "inter_op_threads": threads.get_inter_op_parallelism_threads(),
        "jit_compile": False,
    }


def thinned(drift: list[tuple[int, float]], most: int = 500) -> list[tuple[int, float]]:
    """At most so many of the steps, first and last among them, evenly spaced in their logarithm."""
    if len(drift) <= most:
        return drift
    places = np.unique(np.geomspace(1, len(drift), most).round().astype(int)) - 1
    return [drift[i] for i in places]

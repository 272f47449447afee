"""What belongs to the process is given back: BLAS's threads, SIGINT's handler, standard output.

In every order in which fits may overlap or end; and one model is trained by one thread at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import io
import multiprocessing
import os
import pickle
import pty
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from scratchnet import Input, Sequential, callbacks, config, layers, process
from scratchnet.process import Interruptible, Turn, single_threaded_blas

RNG = np.random.default_rng(5)
X = RNG.normal(size=(48, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 48)
LOSS = "sparse_categorical_crossentropy"
BLAS = ThreadpoolController().select(user_api="blas").lib_controllers


@pytest.fixture(autouse=True)
def two_threads():
    """BLAS on two threads, as found afterwards; and nothing else that is left behind."""
    before = [pool.num_threads for pool in BLAS]
    set_threads(2)
    errors = np.geterr()
    yield
    assert threads() == {2}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert np.geterr() == errors
    for pool, number in zip(BLAS, before, strict=True):
        pool.set_num_threads(number)


def set_threads(number):
    for pool in BLAS:
        pool.set_num_threads(number)
        if hasattr(pool, "clear_controlling_thread"):  # threadpoolctl 3.8
            pool.clear_controlling_thread()


def threads():
    return {pool.num_threads for pool in BLAS}


def network(seed=0, **options):
    model = Sequential(
        [Input((6,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")], seed=seed
    )
    model.compile("adam", LOSS, metrics=["accuracy"], **options)
    return model


class Do(callbacks.Callback):
    """Calls a function at the end of every epoch."""

    def __init__(self, what):
        self.what = what

    def on_epoch_end(self, epoch, logs=None):
        self.what(self.model)


def test_there_is_a_pool_to_hold():
    assert BLAS and threads() == {2}
    with single_threaded_blas():
        assert threads() == {1}


# --- BLAS's threads -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["first in, first out", "first in, last out"])
def test_fits_that_overlap_in_threads_give_the_threads_back(order, engine):
    begun, end = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def wait(n):
        def hold(model):
            begun[n].set()
            assert end[n].wait(60)
            assert threads() == {1}  # the other one may have ended by now

        return hold

    with ThreadPoolExecutor(2) as pool:
        fits = []
        for n in range(2):
            fits.append(pool.submit(network().fit, X, Y, verbose=0, callbacks=[Do(wait(n))]))
            assert begun[n].wait(60)
        for n in (0, 1) if order.endswith("first out") else (1, 0):
            end[n].set()
            fits[n].result()
            assert threads() == ({1} if not end[1 - n].is_set() else {2})


def test_an_error_in_a_fit_gives_them_back(engine):
    def fail(model):
        raise LookupError("mine")

    for train in (
        lambda: network().fit(X, Y, verbose=0, callbacks=[Do(fail)]),
        lambda: network().fit(X, Y, epochs=2, verbose=0, callbacks=[Do(interrupt)]),
        lambda: network().train_on_batch(X, np.full(48, 7)),
    ):
        with pytest.raises((LookupError, KeyboardInterrupt, ValueError)):
            train()
        assert threads() == {2}


def interrupt(model):
    raise KeyboardInterrupt


def test_fits_within_fits_and_evaluations_in_callbacks(engine):
    seen = []

    def inner(model):
        other = network()
        other.fit(X, Y, verbose=0, callbacks=[Do(lambda m: seen.append(threads()))])
        model.evaluate(X, Y, verbose=0)
        model.predict(X, verbose=0)
        model.predict_on_batch(X)
        model.train_on_batch(X, Y)  # of the very model: its own thread may
        seen.append(threads())

    network().fit(X, Y, epochs=2, verbose=0, callbacks=[Do(inner)])
    assert seen == [{1}] * 4


def test_generators_that_stop_in_between_and_those_that_nobody_ends():
    def steps():
        with single_threaded_blas():
            yield
            yield

    ended, left, collected = steps(), steps(), steps()
    for generator in (ended, left, collected):
        next(generator)
    list(ended)
    assert threads() == {1}
    left.close()
    assert threads() == {1}
    with ThreadPoolExecutor(1) as pool:  # ended by another thread than its own
        pool.submit(collected.close).result()
    assert threads() == {2}
    lost = steps()
    next(lost)
    del lost
    gc.collect()
    assert threads() == {2}


def test_an_interrupt_on_the_way_into_the_block_gives_them_back():
    """Between `__enter__` and the block Python may raise: nobody is there to call `__exit__`."""
    with contextlib.suppress(KeyboardInterrupt):
        holder = single_threaded_blas()
        holder.__enter__()
        assert threads() == {1}
        raise KeyboardInterrupt
    del holder
    gc.collect()
    assert threads() == {2}


def test_coroutines_and_threads_of_asyncio(engine):
    async def train(n):
        model = network(n)
        await asyncio.to_thread(model.fit, X, Y, epochs=2, verbose=0)
        return model.theta.tobytes()

    async def all_of_them():
        return await asyncio.gather(*map(train, range(4)))

    side_by_side = asyncio.run(all_of_them())
    assert threads() == {2}
    for n, theta in enumerate(side_by_side):
        model = network(n)
        model.fit(X, Y, epochs=2, verbose=0)
        assert model.theta.tobytes() == theta


def test_a_choice_that_a_callback_made_stays(engine):
    network().fit(X, Y, verbose=0, callbacks=[Do(lambda model: set_threads(3))])
    assert threads() == {3}
    set_threads(2)


def test_a_thread_that_has_claimed_blas_for_itself_stands_in_nobody_s_way(engine):
    """From threadpoolctl 3.8 on the first thread that sets it is the only one that may."""
    for pool in BLAS:
        pool.set_num_threads(2)  # and this is that thread
    seen = []
    with ThreadPoolExecutor(1) as pool:
        do = Do(lambda model: seen.append(threads()))
        pool.submit(network().fit, X, Y, verbose=0, callbacks=[do]).result()
    assert seen == [{1}]


class Counted:
    """A BLAS that keeps a number for each thread, as with OpenMP."""

    internal_api, threading_layer = "openblas", "openmp"

    def __init__(self):
        self.of_thread = threading.local()

    @property
    def num_threads(self):
        return getattr(self.of_thread, "number", 4)

    def set_num_threads(self, number):
        self.of_thread.number = number


def test_where_every_thread_has_a_number_of_its_own_each_gets_its_own_back(monkeypatch):
    blas = Counted()
    pools = [process._Pool(blas)]
    monkeypatch.setattr(process, "_pools", lambda: pools)
    both, done = threading.Barrier(2), []

    def train():
        with single_threaded_blas(), single_threaded_blas():
            both.wait()
            done.append(blas.num_threads)
            both.wait()
        done.append(blas.num_threads)

    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(train) for _ in range(2)]:
            job.result()
    assert done == [1, 1, 4, 4] and not pools[0].holders and not pools[0].before


def after_fork(queue):
    queue.put(threads())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("by", ["another thread", "the fitting thread"])
def test_a_child_that_is_forked_in_the_middle_of_a_fit(by):
    """What another thread had borrowed is not the child's; what its own thread had, is."""
    config.set_engine("reference")
    context = multiprocessing.get_context("fork")
    seen = []

    def fork(model=None):
        queue = context.SimpleQueue()
        child = context.Process(target=after_fork, args=(queue,))
        child.start()
        seen.append(queue.get())
        child.join()

    if by == "the fitting thread":
        network().fit(X, Y, verbose=0, callbacks=[Do(fork)])
        assert seen == [{1}]
        return
    begun, end = threading.Event(), threading.Event()

    def hold(model):
        begun.set()
        assert end.wait(60)

    with ThreadPoolExecutor(1) as pool:
        fit = pool.submit(network().fit, X, Y, verbose=0, callbacks=[Do(hold)])
        assert begun.wait(60)
        fork()
        end.set()
        fit.result()
    assert seen == [{2}]


# --- Ctrl-C ---------------------------------------------------------------------------------------


def press():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_the_outer_fit_from_within_an_inner_one_at_once(engine):
    counted = []

    def press_once(model):
        counted.append(1)
        press()

    def inner(model):
        other = network()
        with pytest.raises(KeyboardInterrupt):
            other.fit(
                X, Y, epochs=500, verbose=0, callbacks=[Do(lambda m: (counted.append(1), press()))]
            )
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network().fit(X, Y, epochs=3, verbose=0, callbacks=[Do(inner)])
    assert len(counted) == 1


def test_a_handler_that_somebody_else_sets_stays(engine):
    def mine(*_):
        pass

    def take(model):
        signal.signal(signal.SIGINT, mine)

    try:
        network().fit(X, Y, verbose=0, callbacks=[Do(take)])
        assert signal.getsignal(signal.SIGINT) is mine
        network().fit(X, Y, verbose=0)  # and one that was there before is left alone
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_interruptibles_that_end_in_any_order():
    outer, inner = Interruptible(), Interruptible()
    outer.__enter__()
    inner.__enter__()
    press()
    inner.__exit__()
    with pytest.raises(KeyboardInterrupt):
        outer.__exit__()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    outer.__enter__()
    inner.__enter__()
    outer.__exit__()  # the outer one first, as by a generator that is closed early
    inner.__exit__()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_batch_is_whole(engine):
    """train_on_batch puts Ctrl-C off until weights and step count belong together."""

    class Pressed(Sequential):
        def gradient(self, batch):
            press()
            return super().gradient(batch)

    model = Pressed([Input((6,)), layers.Dense(3, "softmax")], seed=0)
    model.compile("adam", LOSS)
    with pytest.raises(KeyboardInterrupt):
        model.train_on_batch(X, Y)
    assert model.optimizer.iterations == 1 and model.optimizer.slots["momentum"].any()


# --- one thread a model ---------------------------------------------------------------------------


def held(model, use):
    """What `use` does in another thread while the model is in the middle of a fit."""
    found = []

    def ask(_):
        with ThreadPoolExecutor(1, "guest") as pool:
            found.append(pool.submit(outcome, use, model))
            found[-1].exception()

    model.fit(X, Y, epochs=2, verbose=0, callbacks=[Do(ask)])
    return [one.result() for one in found]


def outcome(use, model):
    try:
        return use(model)
    except Exception as error:
        return error


WRITES = {
    "fit": lambda model: model.fit(X, Y, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(X, Y),
    "loss_and_gradients": lambda model: model.loss_and_gradients(X, Y),
    "set_weights": lambda model: model.set_weights(model.get_weights()),
    "compile": lambda model: model.compile("sgd", LOSS),
    "add": lambda model: model.add(layers.Dense(2)),
    "pop": lambda model: model.pop(),
    "save": lambda model: model.save(os.devnull),
    "copy": copy.deepcopy,
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("use", WRITES)
def test_what_changes_a_model_or_needs_it_whole_waits_for_its_thread(use, engine):
    model, alone = network(), network()
    for error in held(model, WRITES[use]):
        assert isinstance(error, RuntimeError), error
        said = f"{'copy' if use == 'pickle' else use}: the model is in use by thread 'MainThread'"
        assert said in str(error) and "copy.deepcopy(model)" in str(error)
    alone.fit(X, Y, epochs=2, verbose=0)
    assert model.theta.tobytes() == alone.theta.tobytes() and len(model.layers) == 2
    WRITES["fit"](model)  # and its turn is over


@pytest.mark.parametrize("use", ["predict", "__call__", "predict_on_batch"])
def test_looking_on_is_allowed_and_does_no_harm(use, engine):
    model, alone = network(), network()
    for outputs in held(model, lambda model: getattr(model, use)(X)):
        assert outputs.shape == (48, 3)
    for numbers in held(model, lambda model: model.evaluate(X, Y, verbose=0)):
        assert len(numbers) == 2
    alone.fit(X, Y, epochs=2, verbose=0)
    alone.fit(X, Y, epochs=2, verbose=0)
    assert model.theta.tobytes() == alone.theta.tobytes()


def test_of_many_threads_at_once_one_trains_and_the_others_are_told(engine):
    model, alone = network(), network()
    gate = threading.Barrier(8)

    def train():
        gate.wait()
        return outcome(lambda m: m.fit(X, Y, epochs=30, verbose=0), model)

    with ThreadPoolExecutor(8) as pool:
        results = [job.result() for job in [pool.submit(train) for _ in range(8)]]
    done = [r for r in results if not isinstance(r, Exception)]
    assert done and all(isinstance(r, RuntimeError) for r in results if r not in done)
    for _ in done:  # who came after the first had ended trained on
        alone.fit(X, Y, epochs=30, verbose=0)
    assert model.theta.tobytes() == alone.theta.tobytes()


def test_two_first_looks_at_once_build_one_model():
    model = Sequential([layers.Dense(4), layers.Dense(3)], seed=0)
    gate = threading.Barrier(6)

    def look():
        gate.wait()
        return outcome(lambda m: m.predict(X, verbose=0), model)

    with ThreadPoolExecutor(6) as pool:
        seen = [job.result() for job in [pool.submit(look) for _ in range(6)]]
    twin = Sequential([layers.Dense(4), layers.Dense(3)], seed=0)
    expected = twin.predict(X, verbose=0)
    assert all(isinstance(s, RuntimeError) or np.array_equal(s, expected) for s in seen)
    assert np.array_equal(model.predict(X, verbose=0), expected)


def test_a_turn_that_was_forked_away_from_its_thread_is_free():
    turn = Turn()
    turn.holder = (os.getpid() + 1, 12345)
    with turn.taken("fit"), turn.taken("compile"):
        pass
    assert turn.holder is None


# --- standard output ------------------------------------------------------------------------------


class Bare:
    """Something to print to that is no file: it can only write."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def detached():
    stream = io.TextIOWrapper(io.BytesIO())
    stream.detach()
    return stream


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def talk(model):
    """Everything that the library prints."""
    talkative = [
        callbacks.EarlyStopping("loss", mode="max", verbose=1, restore_best_weights=True),
        callbacks.LearningRateScheduler(lambda epoch, rate: rate, verbose=1),
    ]
    for verbose in (0, 1, 2, "auto"):
        model.fit(X, Y, epochs=3, verbose=verbose, callbacks=talkative)
        model.evaluate(X, Y, verbose=verbose)
        model.predict(X, verbose=verbose)
    model.summary()
    model.summary(show_trainable=True)


@pytest.mark.parametrize("stream", [Bare, detached, closed, lambda: None, io.StringIO])
def test_whatever_stands_in_for_standard_output_training_goes_on(stream, monkeypatch, engine):
    config.set_engine(engine)
    monkeypatch.setattr(sys, "stdout", stream())
    talk(network())


def test_an_error_that_is_not_about_a_stream_that_is_gone_is_raised(monkeypatch):
    class Full(Bare):
        def write(self, text):
            raise ValueError("my own trouble")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(ValueError, match="my own trouble"):
        process.say("x")


SPEAK = """
    import numpy as np
    from scratchnet import Sequential, Input, layers, callbacks
    def précision(y, p):
        return np.ones(len(y))
    def 精度(y, p):
        return np.ones(len(y))
    model = Sequential([Input((3,)), layers.Dense(2, name="größe•")], name="модель")
    model.compile("adam", "mse", metrics=[précision, 精度], engine="reference")
    stop = callbacks.EarlyStopping("précision", mode="max", patience=1, verbose=1)
    x, y = np.ones((8, 3)), np.ones((8, 2))
    model.fit(x, y, epochs=4, callbacks=[stop], verbose=1)
    model.evaluate(x, y, verbose=2)
    model.summary()
    print("end")
"""
ENCODINGS = ["ascii", "cp437", "cp932", "gbk", "latin-1", "cp1252", "koi8-r", "big5", "utf-8"]


def spoken(encoding, command):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "TERM": "xterm"}
    return subprocess.run(command, capture_output=True, env=environment, check=False)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_library_speaks_in_every_encoding(encoding):
    done = spoken(encoding, [sys.executable, "-c", textwrap.dedent(SPEAK)])
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode(encoding)
    assert text.rstrip().endswith("end") and "early stopping" in text and "Total params" in text
    for name in ("précision", "精度", "größe•", "модель"):
        assert name.encode(encoding, "replace").decode(encoding) in text


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "utf-8"])
def test_and_on_a_terminal_with_a_progress_bar(encoding, tmp_path):
    script = tmp_path / "speak.py"
    script.write_text(textwrap.dedent(SPEAK))
    spawn = f"import pty, sys; sys.exit(pty.spawn([sys.executable, {str(script)!r}]))"
    assert pty.spawn
    done = spoken(encoding, [sys.executable, "-c", spawn])
    text = done.stdout.decode(encoding)
    assert done.returncode == 0 and text.rstrip().endswith("end"), text
    assert "4/4" in text or "1/1" in text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_the_command_speaks_in_every_encoding(encoding, arguments):
    main = "from scratchnet.app.cli import main; main()"
    done = spoken(encoding, [sys.executable, "-c", main, *arguments])
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert done.stdout.decode(encoding)


def test_without_a_standard_output_at_all():
    script = textwrap.dedent(SPEAK) + "\nimport sys; sys.stderr.write(str(sys.stdout is None))"
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, script],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and done.stderr.decode().endswith("True")

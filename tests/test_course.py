"""The course marks wrong functions wrong, right ones right, and survives any file."""

import inspect
import re
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from typer.testing import CliRunner

from scratchnet.app.cli import app
from scratchnet.app.course import proving, running, writing
from scratchnet.app.course.exercises import EXERCISES, IN_ORDER
from scratchnet.app.course.marking import mark
from scratchnet.app.course.planting import variants
from scratchnet.engines import Engine, own_engine, reference
from scratchnet.layers import Dense, Input
from scratchnet.sequential import Sequential

pytest_plugins = ["browser"]

HEAD = (
    "import numpy as np\nfrom numpy import ndarray as Array\nTINY = 1e-30\nLayers = Tape = list\n\n"
)

PLANTED = {
    "dense_backward": (
        *("dW transposed", "W not transposed", "dX after the update", "gradients accumulate"),
        *("bias of one sample", "mean bias", "one bias for all", "no bias at batch 1"),
    ),
    "relu_backward": (
        *("relu passes everything", "relu slope 1 at 0", "relu masks the gradient"),
        "relu drops the gradient above",
    ),
    "softmax_cross_entropy": ("double softmax",),
    "softmax_cross_entropy_backward": (
        *("missing mean", "averaged twice", "sign", "only the true class", "nominal batch size"),
    ),
    "sgd": ("uphill in SGD",),
    "step_size": (
        *("no bias correction", "constant bias correction", "bias correction multiplied"),
        *("one minus too many", "t one ahead"),
    ),
    "adam": (
        *("epsilon inside the root", "moments forgotten", "moments begin at the gradient"),
        *("second moment of m", "uphill"),
    ),
    "sigmoid": ("sigmoid overwrites Z",),
    "sigmoid_backward": ("sigmoid' of Z", "sigmoid' of the output", "sigmoid' forgotten"),
    "sgd_momentum": (
        *("momentum scaled twice", "momentum damped twice", "velocity of the last step"),
        *("momentum on the gradient", "nesterov backwards"),
    ),
}


@pytest.mark.parametrize(
    ("exercise", "bug"), [(name, bug) for name, bugs in PLANTED.items() for bug in bugs]
)
def test_a_bug_of_the_museum_is_marked_wrong_and_called_by_its_name(exercise, bug):
    for form in variants(EXERCISES[exercise])[bug]:
        found = mark(EXERCISES[exercise], form)
        assert found.state == "wrong"
        assert any(f"likely bug: looks like {bug!r}" in line for line in found.lines)
        assert len(found.lines) < 25


def body(signature, *lines):
    return f"def {signature}:\n" + "".join(f"    {line}\n" for line in lines)


SLIPS = [
    body("dense(X, W, b)", "return X @ W"),
    body("dense(X, W, b)", "return X @ W - (0 if b is None else b)"),
    body("dense(X, W, b)", "return X @ np.abs(W) + (0 if b is None else b)"),
    body("dense_backward(dZ, X, W, dW, db, need_dX)", "dW = X.T @ dZ", "return dZ @ W.T"),
    body("dense_backward(dZ, X, W, dW, db, need_dX)", "dW[...] = X.T @ dZ", "return dZ @ W.T"),
    body("relu(Z)", "return np.abs(Z)"),
    body("relu(Z)", "return np.minimum(Z, 0)"),
    body("relu(Z)", "return np.where(Z > 0, 1.0, 0.0)"),
    body("relu_backward(dA, Z, A)", "return dA * (Z < 0)"),
    body("softmax_cross_entropy(Z, T)", "P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)",
         "return -(T * np.log(P)).sum(axis=1), np.log(P)"),
    body("softmax_cross_entropy_backward(dl, T, log_p)", "return dl[:, None] * (log_p - T)"),
    body("sgd(theta, grad, velocity, learning_rate, momentum, nesterov)",
         "theta = theta - learning_rate * grad"),
    body("dropout(X, mask, rate)", "return X * mask"),
    body("leaky_relu_backward(dA, Z, A)", "return np.where(Z >= 0, dA, 0.2 * dA)"),
    body("softmax(Z)", "e = np.exp(Z - Z.max())", "return e / e.sum(axis=1, keepdims=True)"),
]  # fmt: skip

DIFFERENT = [
    body("dense(X, W, b)", "Z = np.zeros((len(X), W.shape[1]))", "for i in range(len(X)):",
         "    for o in range(W.shape[1]):", "        for k in range(W.shape[0]):",
         "            Z[i, o] += X[i, k] * W[k, o]", "return Z if b is None else Z + b"),
    body("dense(X, W, b)", "Z = np.einsum('bi,io->bo', X, W)", "return Z if b is None else Z + b"),
    body("dense(X, W, b)", "Z = X.astype(np.float32) @ W.astype(np.float32)",
         "return Z if b is None else Z + b.astype(np.float32)"),
    body("dense(X, W, b)", "return X[:, ::-1] @ W[::-1] + (0 if b is None else b)"),
    body("dense_backward(dZ, X, W, dW, db, need_dX)", "dW[...] = 0",
         "for x, d in zip(X, dZ): dW += np.outer(x, d)",
         "if db is not None: db[...] = np.ones(len(dZ)) @ dZ",
         "return np.einsum('bo,io->bi', dZ, W) if need_dX else None"),
    body("relu(Z)", "A = Z.copy()", "A[A < 0] = 0", "return A"),
    body("relu(Z)", "return (Z + np.abs(Z)) / 2"),
    "def on(Z):\n    return Z > 0\n\n" + body("relu_backward(dA, Z, A)", "return dA * on(A)"),
    body("softmax_cross_entropy(Z, T)", "S = (Z - Z.max(axis=1)[:, None]).astype(np.float32)",
         "L = S - np.log(np.exp(S).sum(axis=1))[:, None]", "return -np.sum(L * T, 1), L"),
    body("softmax_cross_entropy_backward(dl, T, log_p)", "P = np.exp(log_p)", "P -= T",
         "P *= dl.reshape(-1, 1)", "return P"),
    body("sgd(theta, grad, velocity, learning_rate, momentum, nesterov)",
         "for i in range(len(theta)): theta[i] -= learning_rate * grad[i]"),
    body("adam(theta, grad, m, v, v_hat, alpha, o1, o2, epsilon)",
         "m[:] = (1 - o1) * m + o1 * grad",
         "v[:] = (1 - o2) * v + o2 * grad**2", "theta -= alpha * m / (v**0.5 + epsilon)"),
]  # fmt: skip


def marked(tmp_path, text, names, **options):
    path = tmp_path / "network.py"
    path.write_text(HEAD + text)
    return running.check(path, names, **options)


def named(text):
    return next(name for name in EXERCISES if f"def {name}(" in text)


def judged(text):
    """As `marked`, of our own text and without a process."""
    module = types.ModuleType("network")
    exec(HEAD + text, module.__dict__)
    return mark(EXERCISES[named(text)], getattr(module, named(text)))


@pytest.mark.parametrize("text", SLIPS)
def test_a_slip_of_another_kind_is_wrong_and_gets_no_museum_name(text):
    found = judged(text)
    assert found.state == "wrong" and 1 < len(found.lines) < 25
    assert not any("looks like" in line for line in found.lines)


@pytest.mark.parametrize("text", DIFFERENT)
def test_right_but_different_passes(text):
    assert judged(text).state == "passed"


RELU = body("relu(Z)", "return np.maximum(Z, 0)")
STEP = "dense(X, W, b)"
HOSTILE = {
    "endless loop": body(STEP, "while True: pass"),
    "SystemExit|exit\\(3": body(STEP, "import sys", "sys.exit(3)"),
    "whole process": body(STEP, "import os", "os._exit(0)"),
    "prints 1,000,001 characters": body(STEP, "print('x' * 1_000_000)", "return 1 / 0"),
    "its parameters are": body("dense(X)", "return X"),
    "syntax error at line 7": body(STEP, "return X @@ W"),
    "Z is None": body(STEP, "pass"),
    "ModuleNotFoundError at line 6": "import nothing_like_this\n\n" + body(STEP, "return 1 / 0"),
    "shape": body(STEP, "return np.zeros(7)"),
    "RecursionError": body(STEP, "return dense(X, W, b)"),
}


@pytest.fixture(scope="module")
def patience(tmp_path_factory):
    """Ten seconds, or more on a machine so busy that a harmless file takes long too."""
    began = time.monotonic()
    marked(tmp_path_factory.mktemp("harmless"), RELU, ["relu"])
    return max(10, 6 * (time.monotonic() - began))


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_code_is_told_in_a_line_and_the_others_are_marked(tmp_path, words, patience):
    text = HOSTILE[words] if "nothing_like" not in HOSTILE[words] else HOSTILE[words].replace(
        "return 1 / 0", "return nothing_like_this.product(X, W)"
    )  # fmt: skip
    began = time.monotonic()
    found = marked(tmp_path, text + "\n\n" + RELU, ["dense", "relu"], seconds=1.5)
    assert time.monotonic() - began < patience
    assert found["relu"].state == "passed"
    assert found["dense"].state == "wrong"
    assert any(re.search(words, line) for line in found["dense"].lines)


def solved():
    parts = [HEAD]
    for name, exercise in EXERCISES.items():
        text = inspect.getsource(exercise.right)
        parts.append(text.replace(f"def {exercise.right.__name__}(", f"def {name}(", 1))
    return "\n\n".join(parts)


def test_the_reference_passes_everything_and_is_proved(tmp_path):
    found = marked(tmp_path, solved(), list(EXERCISES))
    assert {name for name, one in found.items() if one.state == "passed"} == set(EXERCISES)
    proved = proving.proof(tmp_path / "network.py", tmp_path, quick=True, epochs=1)
    assert proved["holds"], proved
    assert proved["network"]["steps"] == proved["stack"]["steps"] == 45


def test_a_wrong_network_is_not_proved(tmp_path):
    text = solved().replace("np.matmul(X.T, dZ, out=dW)", "np.matmul(X.T, dZ * (1 + 1e-9), out=dW)")
    path = tmp_path / "network.py"
    path.write_text(text)
    proved = proving.proof(path, tmp_path, quick=True, epochs=1)
    assert not proved["holds"] and proved["network"]["largest"] > proving.LARGEST


def test_a_new_folder_is_all_to_write_and_is_never_overwritten(tmp_path):
    writing.start(tmp_path / "mine")
    marks = running.check(tmp_path / "mine" / "network.py", [one.name for one in IN_ORDER])
    assert {one.state for one in marks.values()} == {"to write"}
    with pytest.raises(FileExistsError):
        writing.start(tmp_path / "mine")


def test_the_smallest_wrong_case_is_shown_before_a_later_one_that_raises():
    text = body(
        "dense_backward(dZ, X, W, dW, db, need_dX)",
        *("dW[...] = X.T @ dZ", "db[...] = dZ.mean(axis=0)", "return dZ @ W.T"),
    )
    assert any("looks like 'mean bias'" in line for line in judged(text).lines)


def test_code_that_raises_is_shown_what_it_was_given(tmp_path):
    found = marked(tmp_path, body("dense(X, W, b)", "return X @ W + b"), ["dense"])["dense"]
    assert "it raises TypeError" in found.lines[0] and "b = None" in found.lines


def test_the_stack_borrows_what_is_missing(tmp_path):
    text = inspect.getsource(EXERCISES["train_step"].right)
    assert marked(tmp_path, text, ["train_step"])["train_step"].state == "passed"


def test_marking_imports_neither_tensorflow_nor_numba():
    code = (
        "import sys, scratchnet.app.course.sheet; print({'tensorflow', 'numba'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_compile_takes_a_module_or_an_engine():
    mine = types.ModuleType("mine")
    calls = []
    mine.relu = lambda Z: calls.append(1) or reference.relu(Z)
    made = Sequential([Input((3,)), Dense(2, activation="relu")], seed=0)
    made.compile("sgd", "mse", engine=mine)
    made.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    assert calls and isinstance(made.engine, Engine) and made.engine.name == "mine"
    made.compile("sgd", "mse", engine=own_engine(mine))
    with pytest.raises(ValueError, match="no function of an engine"):
        made.compile("sgd", "mse", engine=types.ModuleType("empty"))
    mine.dense = 3
    with pytest.raises(ValueError, match="dense is no function"):
        made.compile("sgd", "mse", engine=mine)


# --- the learner's run, and what shows it ---------------------------------------------------------


OTHERWISE = {
    "dense(X, W, b)": "def dense(inputs, kernel, bias):\n"
    "    Z = np.einsum('bi,io->bo', inputs, kernel)\n"
    "    return Z if bias is None else Z + bias\n",
    "adam(": "def adam(p, g, avg, sq, top, a, one1, one2, eps):\n"
    "    avg[:] = (1 - one1) * avg + one1 * g\n"
    "    sq[:] = (1 - one2) * sq + one2 * g**2\n"
    "    p -= a * avg / (np.sqrt(sq if top is None else np.maximum(top, sq)) + eps)\n",
}


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """A learner's folder after `course prove`; two functions are written in another way."""
    folder = tmp_path_factory.mktemp("learner")
    (folder / "network.py").write_text(solved() + "\n\n" + "\n\n".join(OTHERWISE.values()))
    done = command("course", "prove", folder, "--quick", "--epochs", "1", "--no-keras")
    assert done.exit_code == 0, done.output
    return folder


def command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_prove_leaves_a_certificate_and_a_run_that_explain_replays_to_the_bit(proved, tmp_path):
    page = (proved / "certificate.html").read_text()
    assert "Proved." in page and "45" in page and "einsum" in page
    out = tmp_path / "explain.html"
    asked = ("explain", proved / "run", "--no-keras", "--image", "0", "--out", out, "--quiet")
    done = command(*asked, "--course", proved)
    assert done.exit_code == 0, done.output
    text, source = out.read_text(), (proved / "network.py").read_text().splitlines()
    assert "bit for bit" in text
    for name in ("dense", "adam", "relu_backward", "softmax_cross_entropy"):
        line = max(k for k, t in enumerate(source, 1) if t.startswith(f"def {name}("))
        assert f'<code>network.py:{line}</code> <span class="soft">{name}</span>' in text


def test_draw_shows_the_learner_s_file_and_a_changed_file_is_said(proved, tmp_path):
    out = tmp_path / "draw.html"
    done = command("draw", proved / "run", "--course", proved, "--out", out)
    assert done.exit_code == 0 and "einsum" in out.read_text()
    other = tmp_path / "other"
    writing.start(other)
    done = command("draw", proved / "run", "--course", other, "--out", out)
    assert "has changed since" in done.output
    assert command("draw", proved / "run", "--course", tmp_path, "--out", out).exit_code == 2


def test_a_run_never_leads_to_code(proved, tmp_path):
    """Whatever a run folder says, without --course the reference is shown."""
    (proved / "run" / "network.py").write_text("raise SystemExit('imported')")
    try:
        done = command("draw", proved / "run", "--out", tmp_path / "draw.html")
    finally:
        (proved / "run" / "network.py").unlink()
    assert done.exit_code == 0 and "--course FOLDER" in done.output
    assert 'id="own"' not in (tmp_path / "draw.html").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 800, 1280])
def test_the_certificate_is_readable_and_asks_nobody(visit, proved, width, scheme):
    assert visit(proved / "certificate.html", width, scheme).faults() == {}


def test_other_orders_of_sums_are_within_the_bound_and_a_small_fault_is_not():
    theta = np.array([1e-9, 1.0])
    assert proving.apart(theta * (1 + 2e-16), theta) <= proving.LARGEST
    assert proving.apart(theta + 1e-11, theta) > proving.LARGEST
    assert proving.apart(theta + 1e-11, theta, lambda: 100.0) <= proving.LARGEST
    assert proving.apart(theta * np.nan, theta) == float("inf")

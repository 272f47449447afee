"""The museum: every bug has a source or says so, is caught, and is called by its name."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from scratchnet import Input, Sequential, config, layers
from scratchnet.app import cli
from scratchnet.engines import get_engine, reference
from scratchnet.optimizers import SGD, Adam
from scratchnet.testing import kill_matrix as matrix
from scratchnet.testing.forms import AdamForm, FormRun, SGDForm, settings_of
from scratchnet.testing.museum import BUGS, Bench

ISSUE = re.compile(r"^[\w.-]+/[\w.-]+#\d+$")
"""owner/repository#number."""


def test_at_least_25_bugs_are_documented_and_the_others_say_so():
    documented = [bug for bug in BUGS.values() if bug.documented]
    assert len(documented) >= 25
    for bug in documented:
        assert ISSUE.match(bug.source) or bug.source.startswith("joelgrus/joelnet, data.py")
    assert all(bug.source for bug in BUGS.values())


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_is_caught_and_called_by_its_name(name):
    found = matrix.kill_matrix(names=[name], with_accuracy=False)
    (bug,) = found["bugs"]
    assert bug["caught_by"]
    assert bug["named"], bug["looks_like"]
    assert found["clean"] == []


def test_planting_spoils_nothing_but_the_model_it_is_planted_into():
    before = (dict(reference.ENGINE.activations), dict(reference.ENGINE.losses))
    for bug in BUGS.values():
        bug.plant(matrix.build(bug.setting, (3,), 4, 3, seed=0))
    assert before == (dict(reference.ENGINE.activations), dict(reference.ENGINE.losses))
    assert get_engine("reference") is reference.ENGINE


@pytest.mark.parametrize(
    "optimizer",
    [Adam(0.01), Adam(0.01, amsgrad=True), SGD(0.1), SGD(0.1, 0.9), SGD(0.1, 0.9, True)],
    ids=["adam", "amsgrad", "sgd", "momentum", "nesterov"],
)
def test_a_form_without_a_replaced_piece_is_the_optimizer(optimizer):
    """Otherwise the museum's optimizers would be wrong in two ways at once."""
    form = AdamForm() if isinstance(optimizer, Adam) else SGDForm()
    rng = np.random.default_rng(0)
    theta = rng.normal(size=7)
    run = FormRun(form, settings_of(optimizer), [theta[:4], theta[4:]])
    for _ in range(50):
        grad = rng.normal(size=7) * 10.0 ** rng.uniform(-9, 2, 7)
        optimizer.step(reference.ENGINE, theta, grad)
        run.step([grad[:4], grad[4:]])
    assert np.max(np.abs(np.concatenate(run.arrays) - theta)) <= 1e-14


def test_a_planted_bug_is_trained_with_on_the_compiled_engine_too():
    """A whole compiled epoch would never ask for the replaced function."""
    ends = {}
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 5)), rng.integers(0, 3, 64)
    for name in (None, "missing mean", "t one ahead", "rows repeated"):
        config.set_floatx("float64")
        model = Sequential([Input((5,)), layers.Dense(4, "relu"), layers.Dense(3)], seed=0)
        loss = "sparse_categorical_crossentropy"
        model.compile(Adam(0.01), loss, metrics=["accuracy"])
        if name is not None:
            BUGS[name].plant(model)
        model.fit(x, y, batch_size=16, verbose=0)
        ends[name] = model.theta.copy()
    for name in ("missing mean", "t one ahead", "rows repeated"):
        assert not np.array_equal(ends[None], ends[name])


def test_accuracy_is_blind_where_the_checks_are_not():
    """A missing mean is invisible to Adam; a turned sign is not."""
    found = matrix.kill_matrix(names=["missing mean", "sign"], epochs=4, seeds=1)
    blind, seen = found["bugs"]
    assert not blind["accuracy"]["noticed"] and blind["caught_by"]
    assert seen["accuracy"]["noticed"]
    assert len(seen["accuracy"]["right"]) == len(seen["accuracy"]["spoiled"]) == 1


def test_run_prints_json_or_a_table(capsys):
    given = matrix.run(json=True, names=["mean bias"], with_accuracy=False)
    assert json.loads(capsys.readouterr().out) == given
    assert {"name", "source", "caught_by", "named"} <= given["bugs"][0].keys()
    matrix.run(names=["mean bias"], with_accuracy=False)
    table = capsys.readouterr().out
    assert "mean bias" in table and "1 of 1 caught" in table


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no such bug"):
        matrix.kill_matrix(names=["cosmic ray"])
    with pytest.raises(ValueError, match="'digits', 'mnist' or 'best'"):
        matrix.load("cats")


@pytest.fixture
def command(monkeypatch):
    """`scratchnet museum` on a museum of two bugs, at 60 columns."""
    monkeypatch.setenv("COLUMNS", "60")
    few = {name: BUGS[name] for name in ("moments begin at the gradient", "sign")}
    monkeypatch.setattr(matrix, "BUGS", few)

    def invoke(*arguments):
        return CliRunner().invoke(cli.app, ["museum", "--quick", "--epochs", "1", *arguments])

    return invoke


def test_the_command_prints_the_matrix_within_60_columns(command):
    done = command()
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert re.search(r"moments begin at the gradient +\. \. \. \. x \. +x +!?[+-]\d", done.stdout)
    said = " ".join(done.stdout.split())
    assert "2 of 2 caught by a check, 2 called by their names." in said
    assert "(scikit-learn digits; epochs: 1, seeds: 1)" in said
    assert "The museum" in done.stderr and "The museum ..." not in done.stdout


def test_the_command_prints_json_and_nothing_else(command):
    done = command("--json")
    found = json.loads(done.stdout)
    assert found["trained_on"] == {"data": "scikit-learn digits", "epochs": 1, "seeds": 1}
    for bug in found["bugs"]:
        assert bug["caught_by"] and bug["named"] and bug["source"]
        assert len(bug["accuracy"]["spoiled"]) == 1


def test_the_command_fails_where_a_bug_goes_uncaught_or_right_code_is_reported(
    command, monkeypatch
):
    harmless = BUGS["sign"]._replace(plant=lambda network: None)
    monkeypatch.setattr(matrix, "BUGS", {"sign": harmless})
    done = command()
    assert done.exit_code == 1 and "0 of 1 caught" in done.stdout
    monkeypatch.setattr(matrix, "BUGS", {"sign": BUGS["sign"]})
    monkeypatch.setitem(matrix.CHECKS, "grumpy", lambda bug: True)
    done = command()
    assert done.exit_code == 1
    assert "Right code was reported by grumpy." in " ".join(done.stdout.split())


def test_accuracies_are_of_mnist_where_it_is_found_and_say_so(monkeypatch):
    digits = matrix.datasets.digits.load_data()
    asked = []

    def best_available(**options):
        asked.append(options)
        return matrix.datasets.Choice("MNIST", "", digits)

    monkeypatch.setattr(matrix.datasets, "best_available", best_available)
    found = matrix.kill_matrix(names=["sign"], data="best", seeds=1)
    assert found["trained_on"] == {"data": "MNIST", "epochs": 3, "seeds": 1}
    assert asked == [{"download": False}]
    assert "(MNIST; epochs: 3, seeds: 1)" in matrix.caption(found)


def test_a_bug_can_be_planted_without_a_model():
    bench = Bench()
    BUGS["mean bias"].plant(bench)
    dW, db = np.zeros((1, 1)), np.zeros(1)
    ones = np.ones((2, 1))
    bench.engine.dense_backward(ones, ones, np.ones((1, 1)), dW, db, True)
    assert db.tolist() == [1.0] and dW.tolist() == [[2.0]]

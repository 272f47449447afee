"""The command that runs Keras's own tests: its verdicts on tests made for it, and on real ones."""

from __future__ import annotations

import fnmatch
import json
import textwrap
from pathlib import Path

import pytest
from conftest import HAS_KERAS, absent
from keras_own import cases, report, runner, scope
from keras_own.ledger import FAILED, MISSING, OUT, PASSED, REFUSED
from keras_own.runner import BrokenFile, Result

MADE = """
import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import keras
from keras.src import layers, losses, ops, optimizers, testing, utils
from keras.src.models import Model
from keras.src.losses import NoSuchLoss
from keras.src.metrics.hinge_metrics import NoSuchMetric


class Own(NoSuchLoss):
    pass


@keras.saving.no_such_decorator("package")
class Decorated:
    pass


class MadeTest(testing.TestCase):
    def test_right(self):
        loss = losses.MeanSquaredError()(ops.array([[1.0, 2.0]]), ops.array([[3.0, 2.0]]))
        self.assertAllClose(loss, 2.0)

    def test_wrong(self):
        self.assertAllClose(losses.MeanSquaredError()([[1.0]], [[3.0]]), 5.0)

    def test_raw_error(self):
        raise KeyError("raw")

    def test_missing(self):
        NoSuchMetric()

    def test_missing_subclass(self):
        Own()

    def test_missing_decorator(self):
        Decorated()

    def test_missing_method(self):
        layers.Dense(2).no_such_method()

    def test_missing_but_caught(self):
        try:
            NoSuchLoss()
        except Exception:
            pass
        self.assertAllClose(losses.MeanSquaredError()([[1.0]], [[1.0]]), 0.0)

    def test_unknown_argument(self):
        losses.MeanSquaredError(no_such_argument=3)

    def test_refused_where_an_error_is_expected(self):
        with self.assertRaises(ValueError):
            layers.Input((2,), optional=True)

    def test_error_in_other_words(self):
        with self.assertRaisesRegex(ValueError, "`units` must be positive"):
            layers.Dense(-1)

    def test_error_about_something_else(self):
        with self.assertRaisesRegex(ValueError, "the kernel is not initialized"):
            layers.Dense(-1)

    def test_nothing_raised(self):
        with self.assertRaises(ValueError):
            layers.Dense(1)

    def test_graph(self):
        Model(layers.Input((2,)), None)

    def helper(self):
        return layers.Conv2D(1, 1)

    def test_out_of_scope_by_a_helper(self):
        self.helper()

    def test_private(self):
        self.assertEqual(optimizers.SGD()._no_such_attribute, 1)

    def test_nothing_asked(self):
        self.assertAllClose(ops.sum(ops.ones((2, 2))), 4.0)

    @parameterized.named_parameters(("ours", False), ("theirs", True))
    def test_branch(self, theirs):
        if theirs:
            return tf.constant(1.0)
        self.assertEqual(utils.to_categorical([1]).shape, (1, 2))

    @parameterized.parameters(1.5, 0.5)
    def test_parameters(self, number):
        self.assertAllClose(losses.MeanSquaredError()([[number]], [[0.5]]), 0.0)

    def test_z_dies(self):
        os.abort()

    def test_zz_after_that(self):
        self.assertAllClose(losses.MeanSquaredError()([[1.0]], [[1.0]]), 0.0)
"""
"""Tests in Keras's style, one for each way to end."""

VERDICTS = {
    "test_right": (PASSED, ""),
    "test_wrong": (FAILED, "AssertionError"),
    "test_raw_error": (FAILED, "KeyError"),
    "test_missing": (MISSING, "metrics.NoSuchMetric"),
    "test_missing_subclass": (MISSING, "losses.NoSuchLoss"),
    "test_missing_decorator": (MISSING, "saving.no_such_decorator"),
    "test_missing_method": (MISSING, "Layer.no_such_method"),
    "test_missing_but_caught": (MISSING, "losses.NoSuchLoss"),
    "test_unknown_argument": (REFUSED, "*(no_such_argument)"),
    "test_refused_where_an_error_is_expected": (REFUSED, "Input: optional"),
    "test_error_in_other_words": (PASSED, ""),
    "test_error_about_something_else": (FAILED, "AssertionError"),
    "test_nothing_raised": (FAILED, "AssertionError"),
    "test_graph": (OUT, "functional graphs, or a model by subclassing"),
    "test_out_of_scope_by_a_helper": (OUT, "a layer or a loss that no dense classifier has"),
    "test_private": (OUT, "Keras's inner workings"),
    "test_nothing_asked": (OUT, "nothing asked of scratchnet"),
    "test_branch_ours": (PASSED, ""),
    "test_branch_theirs": (OUT, "another framework's objects"),
    "test_parameters0": (FAILED, "AssertionError"),
    "test_parameters1": (PASSED, ""),
    "test_z_dies": (FAILED, "the process died"),
    "test_zz_after_that": (PASSED, ""),
}


@pytest.fixture(autouse=True)
def installed():
    if not HAS_KERAS:
        absent("no Keras: its own tests were not run")


def test_every_way_to_end_has_its_verdict(tmp_path):
    copy = runner.prepare(tmp_path) / "made_test.py"
    copy.write_text(MADE)
    results, broken = runner.run_copy("made", copy)
    assert broken == []
    found = {r.test.rpartition("::")[2]: r for r in results}
    assert {name: r.kind for name, r in found.items()} == {
        n: kind for n, (kind, _) in VERDICTS.items()
    }
    for name, (_, about) in VERDICTS.items():
        assert fnmatch.fnmatch(found[name].about, about), name
    assert all(r.reached for r in results if r.kind == PASSED)


def test_a_file_that_can_not_be_imported_is_told(tmp_path):
    copy = runner.prepare(tmp_path) / "made_test.py"
    copy.write_text("import keras\n\n1 / 0\n")
    results, (broken,) = runner.run_copy("made", copy)
    assert results == [] and broken.file == "made" and "ZeroDivisionError" in broken.said


BREAK = """
    def pytest_configure():
        import scratchnet

        right = scratchnet.losses.Loss.__call__
        scratchnet.losses.Loss.__call__ = lambda *given, **named: right(*given, **named) + 0.1
"""
"""A plugin under which every loss is wrong."""


LOSSES = (
    "MeanSquaredErrorTest",
    "CategoricalCrossentropyTest",
    "SparseCategoricalCrossentropyTest",
)
NO_VALUE = (
    "test_base_function_reduction",  # a shape
    "test_binary_segmentation_different_axis",  # an error
    "test_config",
    "test_multi_class_segmentation_different_axis",  # an error
    "test_shape_mismatch",  # an error
    "test_squeezes_singleton_class_dim_on_user_axis",  # of a function
)
"""Tests of these losses that look at no value of an object."""


def test_real_tests_pass_by_what_scratchnet_computes(tmp_path, monkeypatch):
    """With the losses wrong no test of their values passes, and another file's tests still do."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "wrong_losses.py").write_text(textwrap.dedent(BREAK))
    files = ["losses/losses", "utils/numerical_utils"]
    right, broken = runner.run(files)
    wrong, broken_then = runner.run(files, plugins=["wrong_losses"])
    assert broken == broken_then == []
    assert [r.test for r in right] == [r.test for r in wrong]

    kinds = {r.test: r.kind for r in right}
    assert kinds["losses/losses::MeanSquaredErrorTest::test_unweighted"] == PASSED
    assert kinds["losses/losses::CategoricalCrossentropyTest::test_unweighted"] == PASSED
    assert kinds["losses/losses::CTCTest::test_correctness"] == OUT
    assert kinds["losses/losses::MeanSquaredErrorTest::test_dtype_arg"] == OUT
    survivors = [r.test.split("::") for r in wrong if r.kind == PASSED]
    assert not [
        (owner, test) for _, owner, test in survivors if owner in LOSSES and test not in NO_VALUE
    ]
    other = [(r.test, r.kind) for r in right if r.file == "utils/numerical_utils"]
    assert other == [(r.test, r.kind) for r in wrong if r.file == "utils/numerical_utils"]
    assert sum(kind == PASSED for _, kind in other) >= 8


def test_the_files_are_there_and_nothing_of_them_is_kept():
    folder = scope.keras_folder() / "src"
    assert len(set(scope.FILES)) == len(scope.FILES)
    assert not [name for name in scope.FILES if not (folder / f"{name}_test.py").is_file()]
    ours = {line for path in Path(cases.__file__).parent.glob("*.py") for line in lines(path)}
    theirs = {line for name in scope.FILES for line in lines(folder / f"{name}_test.py")}
    assert not [line for line in ours & theirs if len(line) > 60]


def lines(path):
    return map(str.strip, path.read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("backend.KerasTensor", "symbolic tensors"),
        ("models.Model", "functional graphs, or a model by subclassing"),
        ("models.Sequential", None),
        ("layers.Conv1D", "a layer or a loss that no dense classifier has"),
        ("layers.Dense", None),
        ("layers.core.dense.Dense", None),
        ("layers.normalization.batch_normalization.BatchNormalization", None),
        ("losses.sparse_categorical_crossentropy", None),
        ("tensorflow.constant", "another framework's objects"),
        ("sparse=True", "sparse or ragged tensors"),
        ("sparse=False", None),
        ("optimizer._clip_gradients", "Keras's inner workings"),
        ("optimizer.clipnorm", None),
        ("'int8'", "quantisation and low-rank adapters"),
        ("'int32'", None),
        ("dtype='float32'", None),
    ],
)
def test_what_is_out_of_scope(name, reason):
    assert scope.reason(name) == reason


def result(test="losses/losses::T::test_a", kind=PASSED, about="", said="", **others):
    return Result(test, kind, about, said, "loss", **others)


def test_the_table_and_the_sentence_add_up():
    results = [
        result(),
        result("a::T::t", OUT, "masks"),
        result("a::T::u", MISSING, "losses.Huber"),
        result("a::T::v", FAILED),
        result("a::T::w", REFUSED, "SGD: clipnorm"),
    ]
    rows = [row.split() for row in report.table(results).splitlines()]
    assert rows[1:] == [
        ["losses/losses", "1", "0", "0", "0", "0", "1"],
        ["a", "4", "1", "1", "1", "1", "0"],
        ["together", "5", "1", "1", "1", "1", "1"],
    ]
    said = report.summary(results)
    assert "5 tests, 4 in scope. 1 of 2" in said and "(50.0%)" in said
    assert report.reasons(results).split() == ["1", "masks"]
    assert report.wanted(results, 1).split() == ["1", "losses.Huber", "(missing)"]


def test_what_makes_the_command_fail():
    meant = {"losses/*::test_a": "on purpose"}
    failing = result(kind=FAILED, difference="on purpose")
    assert list(report.faults([failing], [], meant)) == []
    assert len(list(report.faults([result(kind=FAILED)], [], {}))) == 1
    (stale,) = report.faults([result()], [], meant)
    assert "delete the difference" in stale
    assert list(report.faults([result(kind=MISSING)], [], meant)) == []
    (low,) = report.faults([result()], [], {}, least=2)
    assert low == "1 pass, expected at least 2"
    (broken,) = report.faults([], [BrokenFile("a", "no")], {})
    assert broken == "no results from a: no"


def test_a_difference_is_meant_for_a_failure_only(monkeypatch):
    monkeypatch.setattr(scope, "DIFFERENCES", {"losses/*::test_a": "on purpose"})
    assert runner.difference(result(kind=FAILED)) == "on purpose"
    assert runner.difference(result()) is None
    assert runner.difference(result("losses/losses::T::test_b", FAILED)) is None


def test_results_as_json(tmp_path):
    report.write_json([result(about="x")], tmp_path / "out.json")
    (read,) = json.loads((tmp_path / "out.json").read_text())
    assert Result(**read) == result(about="x")

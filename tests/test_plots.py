"""The pictures: what is drawn is what was given. How they look was judged by eye."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from scratchnet import plots

TRUTH = np.array([0, 1, 2, 1, 0, 2])
OURS = np.array([0, 1, 1, 1, 0, 2])
THEIRS = np.array([0, 2, 1, 1, 0, 2])
IMAGES = np.arange(6)[:, None, None] * np.ones((6, 4, 5))
HISTORY = {"loss": [3.0, 2.0, 1.0], "val_loss": [4.0, 3.0, 2.5]}

CALLS = {
    "history": lambda ax: plots.history({"a": HISTORY, "b": HISTORY}, ax=ax),
    "confusion_matrix": lambda ax: plots.confusion_matrix(TRUTH, OURS, ax=ax),
    "digits": lambda ax: plots.digits(IMAGES, ["a", "b"], ax=ax),
    "misreads": lambda ax: plots.misreads(IMAGES, TRUTH, {"a": OURS, "b": THEIRS}, ax=ax),
    "weights": lambda ax: plots.weights(np.ones((20, 3)), (4, 5), ax=ax),
    "drift": lambda ax: plots.drift({"a": [(1, 1e-16)]}, limit=1e-12, ax=ax),
    "calibration": lambda ax: plots.calibration([0, 1], {"a": np.eye(2)}, ax=ax),
    "histograms": lambda ax: plots.histograms([np.arange(9)], log=True, ax=ax),
    "gradient_flow": lambda ax: plots.gradient_flow({"a": [np.ones(3)]}, ax=ax),
}


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


def words(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("name", CALLS)
def test_a_picture_is_drawn_on_the_axes_given_or_on_new_ones(name, tmp_path):
    _, axes = plt.subplots(1, 2)
    assert CALLS[name](axes[1]) is axes[1]
    assert not axes[0].has_data(), "drew on somebody else's axes"
    fresh = CALLS[name](None)
    assert fresh.figure is not axes[1].figure
    fresh.figure.savefig(tmp_path / "a.png")


def test_importing_plots_imports_neither_matplotlib_nor_sklearn():
    code = (
        "import sys, scratchnet.plots; "
        "sys.exit(any(m in sys.modules for m in ('matplotlib', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_history_shows_every_run_training_and_test():
    lines = plots.history({"a": HISTORY, "b": HISTORY}).get_lines()
    assert [line.get_label() for line in lines] == [
        "a, training",
        "a, test",
        "b, training",
        "b, test",
    ]
    assert lines[3].get_xydata().tolist() == [[1, 4], [2, 3], [3, 2.5]]
    assert lines[0].get_color() != lines[2].get_color()
    assert lines[0].get_linestyle() != lines[1].get_linestyle(), "colour alone tells them apart"


def test_history_of_a_metric_that_nobody_logged():
    with pytest.raises(ValueError, match=r"metric='acc': expected one of loss, val_loss"):
        plots.history({"a": HISTORY}, "acc")


def test_confusion_matrix_counts_digits_in_rows_and_answers_in_columns():
    ax = plots.confusion_matrix(TRUTH, OURS, title="ours")
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (0, 0): "2",
        (1, 1): "2",
        (1, 2): "1",  # a 2 that was read as a 1: column 1, row 2
        (2, 2): "1",
    }
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("answer", "digit", "ours")


def test_misreads_shows_what_either_has_wrong_and_both_answers():
    ax = plots.misreads(IMAGES, TRUTH, {"a": OURS, "b": THEIRS})
    assert words(ax) == ["this is 1", "a 1 ✓", "b 2", "this is 2", "a 1", "b 1"]
    assert [text.get_color() for text in ax.texts if text.get_text() in ("a 1", "b 1", "b 2")] == [
        plots.RED
    ] * 3
    assert ax.get_title() == "2 of 6 misread by a or b"
    shown = ax.images[0].get_array().compressed()
    assert set(shown) == {1, 2}, "not the images that were misread"


def test_misreads_beyond_the_limit_are_taken_evenly_and_said():
    truth, answers = np.zeros(101, int), np.ones(101, int)
    images = np.arange(101)[:, None, None] * np.ones((101, 2, 2))
    ax = plots.misreads(images, truth, {"a": answers}, limit=5)
    assert set(ax.images[0].get_array().compressed()) == {0, 25, 50, 75, 100}
    assert ax.get_title() == "101 of 101 misread by a (5 of them here)"


def test_misreads_of_a_perfect_reader():
    ax = plots.misreads(IMAGES, TRUTH, {"a": TRUTH})
    assert ax.get_title() == "0 of 6 misread by a" and not ax.images


def test_weights_are_the_columns_of_the_kernel():
    kernel = np.arange(24.0).reshape(6, 4)  # four units that see 2 x 3 pixels
    ax = plots.weights(kernel, (2, 3), columns=2)
    field, gap = ax.images[0].get_array(), 1
    second, third = field[:2, 3 + gap :][:, :3], field[2 + gap :, :3][:2]
    np.testing.assert_array_equal(second, kernel[:, 1].reshape(2, 3))
    np.testing.assert_array_equal(third, kernel[:, 2].reshape(2, 3))
    low, high = ax.images[0].get_clim()
    assert low == -high, "white is not zero"


def test_weights_of_a_kernel_that_sees_other_images():
    with pytest.raises(ValueError, match=r"\(20, 3\): expected \(784, units\).*shape=\(28, 28\)"):
        plots.weights(np.ones((20, 3)))


def test_images_without_a_height():
    with pytest.raises(ValueError, match=r"shape \(6, 20\): expected \(images, height, width\)"):
        plots.digits(IMAGES.reshape(6, -1))


def test_drift_is_logarithmic_leaves_out_zeros_and_shows_the_limit():
    ax = plots.drift({"a": [(1, 0.0), (10, 1e-15), (100, 1e-14)], "b": []}, limit=1e-12)
    assert ax.get_yscale() == ax.get_xscale() == "log"
    drawn = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    assert drawn["a"].tolist() == [[10, 1e-15], [100, 1e-14]]
    assert drawn["limit for float64, 1e-12"][:, 1].tolist() == [1e-12, 1e-12]


# --- calibration, histograms, gradient flow -------------------------------------------------------


def test_reliability_by_hand():
    """Three bins: 0.9 right, 0.7 half right, 0.4 wrong; |0.1| + |0.2| * 2 + |0.4| over four."""
    given = np.array([[0.9, 0.1, 0], [0.3, 0.7, 0], [0.3, 0.7, 0], [0.4, 0.3, 0.3]])
    held = plots.reliability([0, 1, 2, 2], given, bins=10)
    np.testing.assert_allclose(held.confidence, [0.4, 0.7, 0.9])
    np.testing.assert_allclose(held.accuracy, [0, 0.5, 1])
    assert held.count.tolist() == [1, 2, 1]
    assert held.ece == pytest.approx((0.4 + 2 * 0.2 + 0.1) / 4)


def test_a_confidence_on_an_edge_counts_below_it_and_nothing_is_lost():
    held = plots.reliability([0, 0, 0], [[0.5, 0.5], [1.0, 0.0], [0.0, 0.0]], bins=2)
    assert held.count.tolist() == [2, 1] and held.accuracy.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("truth", "given", "message"),
    [
        ([0], [[2.0, -1.0]], r"lie in \[-1, 2\].*softmax first"),
        ([0], [[np.nan, 0.5]], "expected \\[0, 1\\]"),
        ([0, 1], [[0.5, 0.5]], r"shape \(1, 2\), labels \(2,\)"),
        ([], np.zeros((0, 2)), "at least one"),
    ],
)
def test_what_is_no_probability_is_refused(truth, given, message):
    with pytest.raises(ValueError, match=message):
        plots.reliability(truth, given)


def test_calibration_draws_the_bins_and_says_the_error():
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    ax = plots.calibration([0, 1, 1, 1], {"a": sure, "b": np.full((4, 2), 0.5)})
    lines = [line.get_xydata().tolist() for line in ax.get_lines()]
    assert lines[0] == [[0, 0], [1, 1]]
    np.testing.assert_allclose(lines[1], [[0.8, 1], [0.9, 0.5]])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["as good as it says", "a: ECE 30.0%", "b: ECE 25.0%"]
    styles = {line.get_linestyle() for line in ax.get_lines()[1::2]}
    assert len(styles) == 2, "colour alone tells them apart"


def test_wilsons_interval_is_that_of_his_score():
    """Both ends p of the interval of k = 3 of 10 solve |3/10 - p| = z sqrt(p (1 - p) / 10)."""
    for end in plots._wilson(np.array([0.3]), np.array([10])):
        assert abs(0.3 - end[0]) == pytest.approx(1.96 * np.sqrt(end[0] * (1 - end[0]) / 10))


def test_histograms_show_a_ridge_a_moment_and_say_the_zeros():
    rng = np.random.default_rng(0)
    moments = [rng.normal(0, 1, 4000), np.where(np.arange(4000) % 4 < 1, 0, rng.normal(5, 1, 4000))]
    ax = plots.histograms(moments, [0, 100])
    assert words(ax) == ["25% zero"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["0", "100"]
    peaks = [line.get_xdata()[line.get_ydata().argmax()] for line in ax.get_lines()]
    np.testing.assert_allclose(peaks, [0, 5], atol=0.6)
    heights = [line.get_ydata().max() - line.get_ydata().min() for line in ax.get_lines()]
    np.testing.assert_allclose(heights, heights[0])


def test_histograms_of_gradients_are_by_order_of_magnitude_and_blind_to_sign():
    ax = plots.histograms([np.array([-1e-3, -1e-3, 1e-3, 1e-1])], log=True)
    (line,) = ax.get_lines()
    assert line.get_xdata()[line.get_ydata().argmax()] == pytest.approx(-3, abs=0.1)


def test_histograms_of_a_layer_that_is_dead():
    assert words(plots.histograms([np.zeros(9), np.zeros(9)], log=True)) == ["100% zero"] * 2


def test_gradient_flow_is_mean_and_largest_of_each_layer_at_each_step():
    gradients = {
        "a": [np.array([[1.0, -3.0]]), np.array([[0.5, 0.5]])],
        "b": [np.array([2.0]), np.array([0.0])],
    }
    ax = plots.gradient_flow(gradients, [1, 10])
    drawn = [line.get_xydata().tolist() for line in ax.get_lines()]
    assert drawn[:2] == [[[1, 2], [10, 0.5]], [[1, 3], [10, 0.5]]]
    assert drawn[2][0] == [1, 2] and np.isnan(drawn[2][1][1]), "a zero has no place on a log scale"
    assert ax.get_yscale() == "log" and ax.get_xscale() == "linear"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    uneven = plots.gradient_flow(gradients, [0, 1000])
    assert uneven.get_xscale() == "symlog" and -1 < uneven.get_xlim()[0] <= 0


@pytest.mark.parametrize("steps", [[1], [], None])
def test_moments_without_their_steps(steps):
    moments = [] if steps is None else [np.ones(2), np.ones(2)]
    for call in (plots.histograms, lambda m, s: plots.gradient_flow({"a": m}, s)):
        with pytest.raises(ValueError, match="expected one step for each moment, and at least one"):
            call(moments, steps)

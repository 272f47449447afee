"""The strategies: well filled, wide in scale, corner cases included, small when they shrink."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from scratchnet.activations import NAMES
from scratchnet.losses import LOSSES
from scratchnet.optimizers import OPTIMIZERS
from scratchnet.testing.strategies import (
    architectures,
    arrays,
    chosen,
    dense_layers,
    kinds,
    labels,
    problems,
    ragged,
    sample_weights,
)

FEW = settings(
    max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@given(arrays((40, 25), fills=("normal", "tiny", "large", "all scales")))
def test_arrays_are_well_filled(x):
    """Hypothesis's own arrays of this size are mostly one repeated value."""
    assert len(np.unique(x)) == x.size


def test_scales_reach_over_many_orders_of_magnitude():
    x = find(
        arrays((50,)),
        lambda x: np.abs(x).max() > 1e9 * np.abs(x[x != 0]).min(),
        settings=FEW,
        random=Random(0),
    )
    assert np.isfinite(x).all()


WANTED = {
    "one sample": lambda p: len(p.batch.x) == 1,
    "exact zeros": lambda p: p.batch.x.size > 3 and (p.batch.x == 0).any() and p.batch.x.any(),
    "a blank sample": lambda p: len(p.batch.x) > 1 and not p.batch.x[-1].any(),
    "a weight of 0": lambda p: p.batch.weights is not None and (p.batch.weights == 0).any(),
    "a saturated sigmoid": lambda p: (
        p.model.layers[0].activation == "sigmoid"
        and np.any(p.model.run(p.batch.x)[0].A > 1 - 1e-15)
    ),
    "a ReLU exactly on its kink": lambda p: (
        p.model.layers[0].activation == "relu" and np.any(p.model.run(p.batch.x)[0].Z == 0)
    ),
    "four layers": lambda p: len(p.model.layers) == 4,
}


def test_the_corner_cases_are_drawn():
    seen = set()

    @settings(FEW, max_examples=1500, derandomize=True, phases=[Phase.generate])
    @given(problems())
    def look(problem):
        seen.update(name for name, wanted in WANTED.items() if wanted(problem))

    look()
    assert seen == set(WANTED)


def test_a_failing_problem_shrinks_to_the_smallest_net_and_integers():
    def deep_relu(problem):
        model = problem.model
        return model.layers[0].activation == "relu" and len(model.layers) > 1 and model.theta.any()

    model, batch = find(problems(3, 4, 3), deep_relu, settings=FEW, random=Random(0))
    assert [layer.units for layer in model.layers] == [1, 2]
    assert batch.x.shape == (1, 1)
    assert not np.any(model.theta % 1) and np.abs(model.theta).max() <= 2
    assert not np.any(batch.x % 1)


@given(problems(margin=1e-3, activations=("relu", "linear"), max_depth=3))
@settings(suppress_health_check=list(HealthCheck))
def test_a_margin_keeps_pre_activations_off_the_kink(problem):
    model, batch = problem
    for layer, stage in zip(model.layers, model.run(batch.x), strict=True):
        if layer.activation == "relu":
            assert np.abs(stage.Z).min() >= 1e-3


@given(st.integers(0, 2**16 - 1))
def test_a_longer_registry_moves_only_the_seeds_that_choose_the_new_name(seed):
    names = ("linear", "relu", "tanh")
    assert chosen((*names, "gelu"), seed) in ("gelu", chosen(names, seed))


def test_every_name_of_the_registries_is_drawn():
    seeds = range(200)
    assert {chosen(NAMES, seed) for seed in seeds} == set(NAMES)
    for registry in (LOSSES, OPTIMIZERS):
        names = kinds(registry)
        assert {chosen(names, seed) for seed in seeds} == set(names)
        assert set(names.values()) == set(registry.values())


@given(ragged())
def test_ragged_batches_leave_a_short_last_one(pair):
    samples, batch = pair
    assert 0 < samples % batch < batch < samples


@given(architectures(3, 5), dense_layers(4), labels(6, 3), sample_weights(6))
def test_the_small_strategies_keep_their_bounds(architecture, layer, drawn, weights):
    inputs, stack = architecture
    assert 1 <= inputs <= 5 and 1 <= len(stack) <= 3 and stack[-1].units >= 2
    assert 1 <= layer.units <= 4
    assert drawn.shape == (6,) and set(drawn.tolist()) <= {0, 1, 2}
    assert weights is None or (weights.shape == (6,) and (weights >= 0).all())

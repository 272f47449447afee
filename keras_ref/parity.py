"""Every figure of the README's parity table, measured again: `python -m keras_ref.parity`.

Three questions: does float64 follow Keras through the whole training, do random networks, and how
far apart are the two in float32, where training is chaotic and only statistics can answer. The
figures go to a JSON file, and from there into the README's table; none is typed by hand.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from rich.console import Console

from keras_ref import bridge
from keras_ref.lockstep import lockstep
from keras_ref.random_networks import BOUND, FACTOR, OPTIMIZERS, draws, survey
from scratchnet import atomic, config, datasets
from scratchnet.app import markers
from scratchnet.app.run_training import RunSettings, build_model

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "parity.json"
console = Console(stderr=True)


def proof(data: Any, engine: str) -> dict[str, Any]:
    """Float64, ten epochs in step with Keras."""
    (x, y), (x_test, _) = data
    model = build_model(RunSettings(engine=engine), data, "float64")
    copy = bridge.twin(model)
    report = lockstep(model, x, y, epochs=10, copy=copy, rng=np.random.default_rng(0))
    with bridge.floatx("float64"):
        theirs = copy.predict(x_test, verbose=0).argmax(axis=1)
    same = int(np.sum(theirs == model.predict(x_test, verbose=0).argmax(axis=1)))
    return {
        "steps": report.steps,
        "largest weight difference": report.largest_drift,
        "same predictions": same,
        "predictions": len(x_test),
        "first difference": str(report.difference),
    }


def single(data: Any, seed: int, epochs: int, engine: str) -> dict[str, Any]:
    """Float32, one seed: weights after each epoch, test accuracy of both at the end.

    Beside them, how far each is after the first epoch from our float64 run of the same seed: what
    float32 alone does to Keras too.
    """
    (x, y), (x_test, y_test) = data
    model = build_model(RunSettings(seed=seed, engine=engine), data)
    exact = build_model(RunSettings(seed=seed, engine=engine), data, "float64")
    copy = bridge.twin(model)
    rng = np.random.default_rng(seed)
    drift: list[float] = []
    from_float64: dict[str, float] = {}
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for trained in (model, copy, exact)[: 3 if epoch == 0 else 2]:
            trained.fit(x[order], y[order], shuffle=False, verbose=0)
        theirs = bridge.flat(copy.trainable_variables)
        drift.append(apart(model.theta, theirs))
        if epoch == 0:
            from_float64 = {
                "ours": apart(model.theta, exact.theta),
                "keras": apart(theirs, exact.theta),
            }
    right = [float(m.evaluate(x_test, y_test, verbose=0)[1]) for m in (model, copy)]
    scores = dict(zip(("accuracy", "keras"), right, strict=True))
    return {"seed": seed, "drift": drift, "from float64": from_float64, **scores}


def apart(one: Any, other: Any) -> float:
    """The largest difference of any entry."""
    return float(np.max(np.abs(one - other)))


def table(found: dict[str, Any]) -> str:
    """The README's rows."""
    whole, nets, runs = found["float64"], found["networks"], found["float32"]
    first = [run["drift"][0] for run in runs]
    ours, theirs = (100 * statistics.mean(run[k] for run in runs) for k in ("accuracy", "keras"))
    *most, last = sorted(OPTIMIZERS)
    drawn = nets["tame"] + nets["wild"] + nets["overflowed"]
    wild = f"the others within {nets['ratio']:.1f} times their own one-ulp twins' drift"
    rows = [
        ("what", "asked for", "measured"),
        ("---", "---", "---"),
        (
            f"float64, all of MNIST, {whole['steps']:,} Adam steps: largest weight difference",
            "1e-12",
            f"{whole['largest weight difference']:.1e}",
        ),
        (
            "the same: equal predictions on the test set",
            f"{whole['predictions']:,}",
            f"{whole['same predictions']:,}",
        ),
        (
            f"float64, {drawn} random networks, 200 steps of {', '.join(most)} or {last}",
            f"{BOUND:g}, or {FACTOR} times the twins' drift",
            f"{nets['tame']} within {nets['worst']:.1e}; {wild}; {nets['overflowed']} overflowed",
        ),
        (
            f"float32, weights after one epoch, {len(runs)} seeds",
            "median 1e-4, none over 3e-2",
            f"median {statistics.median(first):.1e}, largest {max(first):.1e}",
        ),
        (
            "the same epoch, each against our float64 run: largest",
            "",
            ", ".join(
                f"{name} {max(run['from float64'][key] for run in runs):.1e}"
                for name, key in (("ours", "ours"), ("Keras's own", "keras"))
            ),
        ),
        (
            f"float32, test accuracy after {len(runs[0]['drift'])} epochs, mean of {len(runs)}",
            "within 0.3 points of Keras",
            f"{ours:.2f} %, Keras {theirs:.2f} %",
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(
    seeds: Annotated[int, typer.Option(help="Seeds of the float32 runs.")] = 5,
    networks: Annotated[int, typer.Option(help="Random networks without a feature.")] = 100,
    each: Annotated[int, typer.Option(help="Networks for each registered name.")] = 5,
    epochs: Annotated[int, typer.Option(help="Epochs of the float32 runs.")] = 10,
    engine: Annotated[str, typer.Option(help="Our engine.")] = "auto",
) -> None:
    """Measure the parity table on the real MNIST and rewrite it in the README."""
    data = datasets.mnist.load_data()
    console.print("float64: ten epochs in step with Keras")
    found: dict[str, Any] = {"float64": proof(data, engine)}
    console.print(f"{len(draws(networks, each))} random networks")
    found["networks"] = asdict(survey(draws(networks, each)))
    config.set_floatx("float32")
    found["float32"] = []
    for seed in range(seeds):
        console.print(f"float32: seed {seed}, {epochs} epochs on both")
        found["float32"].append(single(data, seed, epochs, engine))
    found["versions"] = {"keras": keras.__version__, "numpy": np.__version__}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(RESULT, json.dumps(found, indent=1) + "\n")
    markers.rewrite(ROOT / "README.md", "parity", table(found))
    typer.echo(table(found))


if __name__ == "__main__":
    typer.run(main)

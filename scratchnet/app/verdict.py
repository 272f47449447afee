"""What a run says in words: one line of verdict, and its numbers side by side.

A page and a terminal say the same: `pages/report_page.py` and `cli/tables.py`.
"""

from __future__ import annotations

from typing import Any

from scratchnet.app.run_training import OURS, SHOWN


def verdict(result: dict[str, Any]) -> str:
    """One line on how far training came, and on whether two models are the same.

    >>> verdict({"kind": "train", "parity": None, "scratchnet": {"test_accuracy": 0.97}})
    'Trained: 97.00% on the test set.'
    """
    if not result.get("interrupted"):
        return _judgement(result)
    if result["epochs"] is None:
        done = f"{result['lockstep']['steps']:,} steps"
    else:
        done = f"{result['epochs']} of {result['settings']['epochs']} epochs"
    return f"Interrupted after {done}. {_judgement(result)}"


def _judgement(result: dict[str, Any]) -> str:
    """Whether the two are the same, with the reason if they are not."""
    if result["parity"] is None:
        accuracy = result[OURS]["test_accuracy"]
        alone = "" if result["kind"] == "train" else " Nothing was compared."
        return f"Trained: {accuracy:.2%} on the test set.{alone}"
    if result["parity"]:
        return "Parity holds."
    stepped, agreed = result["lockstep"], result["agreement"]
    if stepped["difference"]:
        return f"Parity does not hold: {stepped['difference']}."
    if not stepped["holds"]:
        most = stepped["largest_weight_difference"]
        return f"Parity does not hold: weights {most:.2g} apart, limit {stepped['limit']:.2g}."
    if "speed_ratio" in result:
        chance = agreed["mcnemar_p"]
        return f"Parity does not hold: the answers disagree beyond chance, p = {chance:.2g}."
    return f"Parity does not hold: {agreed['of'] - agreed['same']} answers differ."


def numbers(result: dict[str, Any]) -> list[list[str]]:
    """The last epoch of everyone side by side: rows of a title and one number for each model."""
    names = [name for name in SHOWN if name in result]
    rows = (
        ("training loss", "loss", "{:.4f}"),
        ("training accuracy", "accuracy", "{:.2%}"),
        ("test loss", "test_loss", "{:.4f}"),
        ("test accuracy", "test_accuracy", "{:.2%}"),
        ("seconds per epoch (median)", "seconds_per_epoch", "{:.3f}"),
        ("seconds of compiling and tracing", "warm_up_seconds", "{:.3f}"),
    )
    told = [
        [title, *(formatted(result[name][key], form) for name in names)]
        for title, key, form in rows
    ]
    if "speed_ratio" in result:
        told.append(["times as fast as Keras", f"{result['speed_ratio']:.1f}", "1.0"])
    return told if names else []


def formatted(value: float | None, form: str) -> str:
    return "not finite" if value is None else form.format(value)

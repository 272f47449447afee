"""Which pictures a run gets: its outcome through `plots.py` into the folder's `pictures`.

It computes nothing and chooses no style: what a picture looks like is said in `plots.py`, what is
worth a picture is said here. The page that shows them beside the numbers is
`pages/report_page.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scratchnet.app import run_folder, run_training
from scratchnet.datasets import Data

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(folder: run_folder.RunFolder, outcome: run_training.Outcome, data: Data) -> list[str]:
    """Every picture that the outcome allows, into the folder; their paths within it."""
    from matplotlib.figure import Figure

    from scratchnet import plots

    _, (x_test, y_test) = data
    found = {run_training.SHOWN[name]: given for name, given in outcome.answers.items()}
    pictures: dict[str, Figure] = {}

    def figure(name: str, width: float, height: float, columns: int = 1) -> Any:
        drawn = Figure(figsize=(width, height), layout="constrained")
        pictures[name] = drawn
        return drawn.subplots(1, columns, squeeze=False)[0]

    if outcome.histories:
        axes = figure("curves", 10, 4, 2)
        histories = {run_training.SHOWN[name]: run for name, run in outcome.histories.items()}
        for ax, metric in zip(axes, ("loss", "accuracy"), strict=True):
            plots.history(histories, metric, ax=ax)
    axes = figure("confusion", 5 * len(found), 5.2, len(found))
    for ax, (name, given) in zip(axes, found.items(), strict=True):
        plots.confusion_matrix(y_test, given, title=name, ax=ax)
    height = 1 + 1.25 * min(4, -(-len(outcome.result["misread"]["index"]) // 10))
    plots.misreads(x_test, y_test, found, ax=figure("misread", 9.5, height)[0])
    kernel = next(layer.params["kernel"] for layer in outcome.model.layers if layer.params)
    plots.weights(kernel, x_test.shape[1:], ax=figure("weights", 10, 4.8)[0])
    if outcome.drifts:
        plots.drift(outcome.drifts, limit=outcome.limit, ax=figure("drift", 7, 4.2)[0])
    return folder.save_pictures(pictures)

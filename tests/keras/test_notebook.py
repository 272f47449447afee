"""The notebook runs from top to bottom, on MNIST and without it, and is stored without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "keras_ref" / "side_by_side.ipynb"
NOWHERE = "http://127.0.0.1:9"
"""A proxy that no one answers at: what is to be downloaded is not to be had."""


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """`executed(epochs)`: what the notebook prints, and how many pictures it shows."""

    def run(epochs):
        monkeypatch.setenv("SCRATCHNET_EPOCHS", str(epochs))
        for name in ("SCRATCHNET_PHOTO", "MPLBACKEND"):  # the command sets the latter for itself
            monkeypatch.delenv(name, raising=False)
        book = nbformat.read(NOTEBOOK, as_version=4)
        where = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(book, timeout=None, kernel_name="python3", resources=where).execute()
        outputs = [out for cell in book.cells for out in cell.get("outputs", [])]
        text = "".join(out.get("text", "") for out in outputs if out.get("name") != "stderr")
        return text, sum("image/png" in out.get("data", {}) for out in outputs)

    return run


def numbers(pattern, text):
    return [float(number) for number in re.findall(pattern, text)]


def check(text, pictures, accuracy):
    """What the words between the cells say is what the cells print."""
    assert pictures == 4
    keras, ours = numbers(r"evaluate +(\d\.\d+)", text)
    softmax, normalised, of_sigmoids = numbers(r"(?:logits|sum|sigmoids)  +(\d\.\d+)", text)
    # Six decimals of float32 sums: a few 1e-7 each, and their rounding.
    assert keras == pytest.approx(softmax, abs=3e-6) and ours == pytest.approx(softmax, abs=3e-6)
    assert min(abs(softmax - normalised), abs(softmax - of_sigmoids)) > 1e-3
    assert len(numbers(r"test accuracy (\d\.\d+)", text)) == 2
    assert min(numbers(r"test accuracy (\d\.\d+)", text)) > accuracy


def test_it_runs_on_mnist_and_both_networks_read_the_photo(executed, mnist):
    text, pictures = executed(epochs=1)
    assert "Data: MNIST, 60,000 training" in text
    check(text, pictures, accuracy=0.9)
    assert re.findall(r"(\w+) +reads a (\d)", text) == [("Keras", "3"), ("scratchnet", "3")]
    assert "nothing speaks against it" in text
    ties = numbers(r"([\d.]+)% of the images have several", text)
    assert min(ties) > 5  # percent; on scaled pixels there are next to none
    (by_outputs,) = numbers(r"scratchnet +accuracy ([\d.]+)", text)
    (by_logits,) = numbers(r"by that network's logits ([\d.]+)", text)
    assert by_logits > by_outputs + 0.02


def test_without_mnist_it_takes_the_bundled_digits_and_says_so(executed, monkeypatch, tmp_path):
    for name in ("SCRATCHNET_DATA", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    for name in ("SCRATCHNET_CACHE", "KERAS_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    text, pictures = executed(epochs=8)
    assert "Data: scikit-learn digits, 1,437 training" in text
    check(text, pictures, accuracy=0.8)


def test_it_is_stored_without_outputs():
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 10
    assert [c["id"] for c in cells if c["outputs"] or c["execution_count"] is not None] == []
    assert [c["id"] for c in book["cells"] if c["metadata"]] == []
    assert set(book["metadata"]) == {"kernelspec", "language_info"}

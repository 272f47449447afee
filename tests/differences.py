"""Where scratchnet differs from Keras on purpose, on one page: `python -m tests.differences`.

The page is made of three tables and never by hand: the tests of Keras's own that fail as they are
meant to (`keras_own/scope.py`), the names that are not built (`scratchnet/unbuilt.py`), and what
Keras's tests do not ask (OTHERS), each line of which names the test of ours that shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

from scratchnet.unbuilt import TABLE
from tests.keras_own.scope import DIFFERENCES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "differences.md"

OTHERS = {
    "A generator that is at its end ends training, with a warning. Keras goes on, in each further "
    "epoch, with the first two batches, which it kept when it looked at their shapes.": (
        "tests/keras/test_streams.py::test_a_generator_that_is_at_its_end_ends_training"
    ),
    "A generator given as validation_data is read once, before training: every epoch is validated "
    "on the same batches.": (
        "tests/keras/test_streams.py::test_a_validation_generator_is_read_once"
    ),
    "shuffle=True is ignored for a generator without a warning, as it is the default; batch_size "
    "is ignored with one. Keras warns of the first and not of the second.": (
        "tests/keras/test_streams.py::test_a_model_without_a_shape_is_built_by_the_first_batch"
    ),
    "BackupAndRestore refuses a fit on a generator or a PyDataset, since it promises the same bits "
    "as if nothing had happened, and their batches can't be put back.": (
        "tests/keras/test_streams.py::test_a_fit_from_batches_cannot_be_resumed_and_says_so"
    ),
    "An iterator that is no generator, such as zip(x, y), is taken as one; Keras refuses it.": (
        "tests/keras/test_streams.py::test_any_iterator_is_a_generator"
    ),
    "A bad batch of a generator, or an error that it raises, ends fit with that error, and the "
    "batch by its number; Keras wraps it in an error of TensorFlow's.": (
        "tests/keras/test_streams.py::"
        "test_a_bad_batch_and_a_generator_that_raises_name_what_went_wrong"
    ),
    "A cross-entropy as a metric reads a sigmoid head's outputs, normalised. On TensorFlow Keras "
    "reads the hidden logits there too, as both do in the loss.": (
        "tests/keras/test_random_scripts.py::test_a_crossentropy_as_a_metric_reads_the_outputs"
    ),
    "gradient_accumulation_steps of an optimizer is refused: a batch_size so many times as large "
    "takes the same step, but for rounding.": (
        "tests/keras/test_random_scripts.py::test_accumulation_of_gradients_is_refused_by_name"
    ),
}
"""What differs -> the test that shows it."""


def page() -> str:
    """The whole of docs/differences.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Where scratchnet differs from Keras on purpose"
    yield ""
    yield "Everything else is meant to be as in Keras 3 on TensorFlow: please report what is not."
    yield "`python -m tests.differences` writes this page; a test holds it to what it is made of."
    yield ""
    yield "## What behaves otherwise"
    yield ""
    yield "Found by Keras's own tests, which `python -m tests.keras_own` runs on scratchnet; named"
    yield "are those that fail for this reason."
    yield ""
    for why in dict.fromkeys(DIFFERENCES.values()):
        tests = [form for form, reason in DIFFERENCES.items() if reason == why]
        yield f"- {why} ({', '.join(f'`{test}`' for test in tests)})"
    yield ""
    yield "Shown by tests here:"
    yield ""
    for what, test in OTHERS.items():
        yield f"- {what} (`{test}`)"
    yield ""
    yield "## What is refused by name"
    yield ""
    yield "Each of these names answers with a sentence that says what stands nearest."
    yield ""
    yield "| room | what | nearest here | names |"
    yield "| --- | --- | --- | --- |"
    for room, rows in TABLE.items():
        for what, nearest, names in rows:
            yield f"| {room or 'keras'} | {what} | {nearest} | {', '.join(names.split())} |"


def main() -> None:
    PAGE.write_text(page())


if __name__ == "__main__":
    typer.run(main)

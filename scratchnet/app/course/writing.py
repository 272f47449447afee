"""Write the learner's folder: network.py with a stub an exercise, a README, a test for pytest."""

from __future__ import annotations

import inspect
from pathlib import Path

from scratchnet import atomic
from scratchnet.app.course import shapes
from scratchnet.app.course.exercises import FOR_MORE, IN_ORDER, Exercise

FILE = "network.py"

HEAD = '''"""My network. Write the functions from top to bottom, then: scratchnet course check

B batch, I inputs, O outputs, K classes, P parameters. dW is the gradient of the loss by W.
"""

from __future__ import annotations

import numpy as np
'''

README = """# A network of your own

Write the functions in `network.py`, from top to bottom, and have them marked as often as you like:

    scratchnet course check                 # all of them
    scratchnet course check . dense         # one
    scratchnet course check . dense --hint  # a hint; --hint --hint for the next one too
    scratchnet course check . dense --solution

What is missing is borrowed from the reference, so you can start anywhere. `pytest` runs the same
checks. When all are passed:

    scratchnet course prove .

trains your network beside the reference, and beside Keras where it is installed, and compares
every tensor of every step. In the pictures below a box is an array: B batch, I inputs, O outputs,
K classes, P parameters.

## The path

{path}

## For more

{more}
"""

TEST = '''"""The checks of the course, for pytest."""

from pathlib import Path

import pytest

from scratchnet.app.course import exercises, running


@pytest.mark.parametrize("name", [one.name for one in exercises.IN_ORDER])
def test_exercise(name):
    found = running.check(Path(__file__).parent / "network.py", [name])[name]
    if found.state == "to write":
        pytest.skip("still to write")
    assert found.state == "passed", "\\n".join(found.lines)
'''


def stub(exercise: Exercise) -> str:
    """The function to write, with its equation and what to think about."""
    return (
        f"def {exercise.name}({exercise.signature}):\n"
        f'    """{exercise.equation}.\n\n'
        f"    Think: {exercise.think}\n"
        f'    """\n'
        f"    raise NotImplementedError\n"
    )


def entry(number: int, exercise: Exercise) -> str:
    """An exercise in the README: its law, and its shapes drawn."""
    drawn = [shapes.picture(equation) for equation in shapes.PICTURES.get(exercise.name, ())]
    boxes = ["```text\n" + "\n\n".join(drawn) + "\n```"] if drawn else []
    return "\n\n".join([f"{number}. `{exercise.name}`: {exercise.law}.", *boxes])


def solution(exercise: Exercise) -> str:
    """The reference's function under the exercise's name, with the constants that it needs.

    Of an exercise that is timed, a faster one.
    """
    if exercise.timed:
        from scratchnet.app.course import fast  # imports Numba

        return f"from numba import njit\n\n\n{inspect.getsource(fast.dense_step)}"
    right = exercise.right
    text = inspect.getsource(right).replace(f"def {right.__name__}(", f"def {exercise.name}(", 1)
    known = inspect.getmodule(right)
    values = {name: getattr(known, name, None) for name in right.__code__.co_names}
    lines = [f"{name} = {value!r}\n" for name, value in values.items() if type(value) is float]
    return "\n\n".join([*lines, text])


def whole_file() -> str:
    """The file to fill in."""
    more = ["\n# --- for more -----------------------------------------------------------\n"]
    return "\n\n".join([HEAD, *map(stub, IN_ORDER), *more, *map(stub, FOR_MORE)])


def start(folder: Path) -> list[Path]:
    """Write the folder.

    Raises:
        FileExistsError: where one of the files is there already; nothing is written then.
    """
    listed = [
        "\n\n".join(entry(k, one) for k, one in enumerate(group, 1))
        for group in (IN_ORDER, FOR_MORE)
    ]
    texts = {
        FILE: whole_file(),
        "README.md": README.format(path=listed[0], more=listed[1]),
        "test_network.py": TEST,
    }
    there = [name for name in texts if (folder / name).exists()]
    if there:
        raise FileExistsError(f"{folder / there[0]} is there already: name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        atomic.write(folder / name, text)
    return [folder / name for name in texts]

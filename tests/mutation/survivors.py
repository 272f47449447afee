"""Mutants that the suite cannot notice, each with the reason why nobody could, or should.

A mutant is known by its file and by the line before and after, so that an entry outlives lines that
move, and dies with the line that it is about. An entry that no mutant answers to is an error.
"""

from __future__ import annotations

from typing import NamedTuple


class Survivor(NamedTuple):
    """A mutant that may live: some text of its line becomes another, and why that is the same."""

    file: str
    before: str
    after: str
    reason: str

    def explains(self, file: str, before: str, after: str) -> bool:
        """Whether this is the mutant that turns one line into another."""
        return (
            file == self.file
            and self.before in before
            and squeezed(before.replace(self.before, self.after)) == squeezed(after)
        )


def squeezed(line: str) -> str:
    """Without spaces: cosmic-ray sets one before the numbers that it changes."""
    return line.replace(" ", "")


REFERENCE, LAYERS, LOSSES = "engines/reference.py", "layers/core.py", "losses.py"
OPTIMIZERS, INITIALIZERS, MODEL = "optimizers/updates.py", "initializers/initializer.py", "model.py"
COPIED = "the same numbers, copied"
LAST = "losses are of shape (B, K): axis 1 is the last"

KNOWN: tuple[Survivor, ...] = (
    *(
        Survivor(REFERENCE, f"{line}axis=-1", f"{line}axis=1", LAST)
        for line in (
            "shifted = Z - np.max(Z.real, ",
            "log_p = shifted - np.log(np.sum(np.exp(shifted), ",
            "return -np.sum(T * log_p, ",
            "return dl[:, None] * (np.exp(log_p) * np.sum(T, ",
            "total = np.sum(P, ",
            "return -np.sum(T * np.log(clipped), ",
            "return (dQ - np.sum(dQ * Q, ",
            "return np.mean(difference * difference, ",
        )
    ),
    Survivor(REFERENCE, "difference.shape[-1]", "difference.shape[1]", LAST),
    Survivor(
        REFERENCE,
        "np.where(inside, Q, 1)",
        "np.where(inside, Q, 2)",
        "only keeps a division by 0 away; the outer where throws the quotient away",
    ),
    Survivor(
        "activations/names.py",
        ".get(name) is not identifier",
        ".get(name) != identifier",
        "functions are equal to themselves only",
    ),
    Survivor(
        LAYERS,
        "need_dX: bool = True",
        "need_dX: bool = False",
        "the default of an argument that Layer, Flatten and Rescaling do not look at; Dense's is "
        "killed",
    ),
    Survivor(LOSSES, "copy=False", "copy=True", COPIED),
    Survivor("objective.py", "Z.shape[-1]", "Z.shape[1]", LAST),
    Survivor("objective.py", 'self.reads == "Z"', 'self.reads >= "Z"', "it is 'A' or 'Z'"),
    Survivor(LAYERS, "(len(X), -1)", "(len(X), -2)", "NumPy takes any negative size for -1"),
    Survivor(LAYERS, "input_shape[0]", "input_shape[-1]", "there is one axis, the check says"),
    Survivor(OPTIMIZERS, "+ 1, 1, theta", "+ 1, 2, theta", "only the first one is taken"),
    Survivor(OPTIMIZERS, "dtype)[0]", "dtype)[-1]", "there is only one"),
    Survivor(OPTIMIZERS, "[: 3 if", "[: 4 if", "there are only three"),
    Survivor(INITIALIZERS, "shape[-1]", "shape[1]", "a kernel has two axes"),
    Survivor(INITIALIZERS, "> 2).any", ">= 2).any", "too seldom is a draw exactly 2 to be met"),
    Survivor(MODEL, "n == 0", "n <= 0", "n counts from 0"),
    Survivor(MODEL, "len(taken) + 1", "len(taken) + 2", "one more than can be taken is enough"),
    Survivor(
        MODEL,
        "zip(layers, specs, strict=True)",
        "zip(layers, specs, strict=False)",
        "the loop above made one spec for each layer",
    ),
    Survivor(MODEL, "if i > lowest", "if i != lowest", "i begins at lowest"),
    Survivor(MODEL, "copy=False", "copy=True", COPIED),
)

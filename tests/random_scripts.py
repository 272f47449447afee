"""Random training scripts beside live Keras: `python -m tests.random_scripts --scripts 200`."""

from __future__ import annotations

from typing import Annotated

import typer

from keras_ref.random_scripts import BOUND, compare


def main(
    scripts: Annotated[int, typer.Option(help="How many scripts.", min=1)] = 200,
    first: Annotated[int, typer.Option(help="The seed of the first.", min=0)] = 0,
) -> None:
    """Each script in Keras and on both engines, in float64; status 1 if one differs."""
    wrong = tame = 0
    worst = 0.0
    for seed in range(first, first + scripts):
        try:
            outcome = compare(seed)
        except Exception as error:  # one side refuses what the other takes: that is a finding
            typer.echo(f"{seed}: {type(error).__name__}: {error}")
            wrong += 1
            continue
        if outcome.wrong:
            typer.echo(f"{seed}: {outcome.wrong} (twin {outcome.twin:.2g})")
            wrong += 1
        if outcome.apart <= BOUND:
            tame, worst = tame + 1, max(worst, outcome.apart)
    typer.echo(
        f"{scripts} scripts: {scripts - wrong} as in Keras on both engines, {tame} of them within "
        f"{BOUND:g}, the farthest of these {worst:.2g} apart; {wrong} differ."
    )
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)

"""Right code, drawn over and over: python -m tests.subjects.draws [seeds] [folder]

Each call is made with other seeds, for the numbers drawn and for the weights that a constructor
draws. Printed are the points that gradients were judged at, and every false alarm.
"""

from __future__ import annotations

import functools
import re
import sys

import numpy as np

from scratchnet.testing import check
from tests.subjects.load import load, styles


def main(seeds: int = 25, folder: str = "styles") -> None:
    points = calls = alarms = 0
    for style in styles(folder):
        for seed in range(1, seeds + 1):
            np.random.seed(seed)
            module = load(style, folder=folder)
            module.check = functools.partial(check, seed=seed)
            for name, call in module.CALLS.items():
                calls += 1
                try:
                    found = re.search(r"at (\d+) points", str(call()))
                    points += int(found[1]) if found else 1
                except Exception as error:
                    alarms += 1
                    print(f"{style}.{name}, seed {seed}: {error}", flush=True)
        print(f"{style}: {calls} calls, {points} points, {alarms} false alarms so far", flush=True)


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))

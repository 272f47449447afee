"""One file for each thing that is measured: `run(arena, ...)` gives the body of its result.

`cli.py` lists them in the order of `all`. Read `train.py` first.
"""

"""Benchmarks: scratchnet beside everything that a user would pick instead.

`python -m benchmarks --help` lists the commands; each validates a peer before it times it, and
writes raw samples with their environment to `results/`. `job.py` says what the work is, `peers/`
does it, `arena.py` lets them take turns, and `rendering/` turns samples into tables and figures.
A number that was not measured in the same run on the same machine is never compared.
"""

"""Keras's own tests, run on scratchnet: `python -m tests.keras_own`.

The test files are those of the installed keras package. They are copied into a temporary folder at
run time and run there by pytest, with `keras` and `keras.src` standing for scratchnet (`rooms.py`);
nothing of theirs is kept here. What a test only needs to make and compare arrays is a stand-in over
NumPy (`standins.py`, `cases.py`). Every test gets one verdict with its reason (`verdicts.py`); what
is out of scope, and why, is one table (`scope.py`).
"""

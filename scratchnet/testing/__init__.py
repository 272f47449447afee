"""Tests for anyone's hand-written backprop: batteries, strategies, a museum of bugs, exact numbers.

`batteries` checks a layer, an activation, a loss, an optimizer or a batch loop and names the likely
bug; `strategies` draws problems with Hypothesis; `museum` holds the bugs; `exact` computes without
rounding. This file imports none of them: each brings its own needs. Start at `batteries.py`.
"""

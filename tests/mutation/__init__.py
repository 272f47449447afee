"""Mutation testing: `python -m tests.mutation` for the core, with `--compiled` for the kernels.

cosmic-ray (the extra `mutation`) changes one operator, number or keyword at a time, in a copy of
the tree, and a suite of some seconds has to notice. mutmut was tried too: it changes functions
only, and so would leave the tables, constants and class attributes alone. Of the compiled engine
the activations, losses, optimizers and sparse products are changed; Numba compiles each mutant
anew. Read `rules.py` for the mutants that are not run, `suite.py` for what has to notice,
`survivors.py` for what may live.
"""

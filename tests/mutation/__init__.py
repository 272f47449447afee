"""Mutation testing of the core: `python -m tests.mutation` (needs the extra `mutation`).

cosmic-ray changes one operator, number or keyword of the core at a time, in a copy of the tree, and
a suite of a few seconds has to notice. mutmut was tried too: it changes functions only, and so
would leave the tables, constants and class attributes of the core alone. Read `rules.py` for the
mutants that are not run, `suite.py` for what has to notice, `survivors.py` for what may live.
"""

"""The course: write the network yourself, have each function marked, and prove the whole.

`exercises.py` is the table that everything follows: what to write, on which numbers it is marked,
what to think about. `writing.py` makes a folder of it, `sheet.py` loads what was written,
`marking.py` compares, `running.py` does both in a process of its own, `proving.py` trains. Learner
code never runs in the process of the command. Read `exercises.py` next.
"""

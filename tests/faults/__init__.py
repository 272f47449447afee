"""Trainings that are stopped at random moments: `python -m tests.faults`."""

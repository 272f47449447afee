"""Anybody's code as functions of named arrays: found, bound, and put back before every pass."""

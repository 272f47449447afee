"""One file for each peer: the same network written as its users write it. Begin with `base.py`."""

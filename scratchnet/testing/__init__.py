"""Tools for testing hand-written backprop, this project's or your own."""

"""Hand-written backprop in a dozen well-known styles, right, and with a slip planted into each.

Each file of `styles/` and `held_out/` is code as its authors might have it, written anew, followed
by `CALLS`: how each piece is checked. `slips.py` and `held_out_slips.py` list the changes to plant:
a piece of text for another, and the name that the report should give, if any.
"""

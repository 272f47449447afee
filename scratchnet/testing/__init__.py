"""Tests for anyone's hand-written backprop: one call, strategies, a museum of bugs, exact numbers.

`check` takes a layer, an activation, a loss, an optimizer or a model as it is and says whether its
gradients are right, and if not, where and why. `batteries` are the same by kind, with more laws;
`strategies` draws problems with Hypothesis; `museum` holds the bugs; `exact` computes without
rounding. Read `checking.py` next.
"""

from scratchnet.testing.checking import check as check
from scratchnet.testing.failure import LawError as LawError
from scratchnet.testing.subjects.options import SubjectError as SubjectError

__all__ = ["LawError", "SubjectError", "check"]

from scale_shift import ScaleShift

from scratchnet.testing.batteries import check_layer


def test_my_layer():
    check_layer(ScaleShift)

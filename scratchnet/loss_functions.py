"""The losses as functions of arrays, by their old address: they stand in `losses/`."""

from scratchnet.losses import FUNCTIONS as FUNCTIONS
from scratchnet.losses import categorical_crossentropy as categorical_crossentropy
from scratchnet.losses import mean_squared_error as mean_squared_error
from scratchnet.losses import sparse_categorical_crossentropy as sparse_categorical_crossentropy

"""How weights begin, by Keras's names: `initializer.py` has those of the script."""

from __future__ import annotations

from typing import Any

from scratchnet.initializers.distributions import (
    Constant,
    GlorotNormal,
    HeNormal,
    HeUniform,
    Identity,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
)
from scratchnet.initializers.initializer import (
    INITIALIZERS,
    GlorotUniform,
    Initializer,
    Zeros,
    drawn,
    fans,
    get,
    serialize,
)
from scratchnet.registry import instance
from scratchnet.support import snake_case
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

constant, identity, ones, zeros = Constant, Identity, Ones, Zeros
glorot_normal, glorot_uniform = GlorotNormal, GlorotUniform
he_normal, he_uniform, lecun_normal, lecun_uniform = HeNormal, HeUniform, LecunNormal, LecunUniform
orthogonal, random_normal, random_uniform = Orthogonal, RandomNormal, RandomUniform
truncated_normal, variance_scaling = TruncatedNormal, VarianceScaling
IdentityInitializer, OrthogonalInitializer = Identity, Orthogonal

KINDS: tuple[type[Initializer], ...] = (
    *(GlorotUniform, HeNormal, Zeros, Ones, Constant, GlorotNormal, HeUniform, Identity),
    *(LecunNormal, LecunUniform, Orthogonal, RandomNormal, RandomUniform, TruncatedNormal),
    VarianceScaling,
)
INITIALIZERS.update({snake_case(kind.__name__): kind for kind in KINDS})
INITIALIZERS.update({kind.__name__: kind for kind in KINDS})
INITIALIZERS.update(
    {
        **{"zero": Zeros, "one": Ones, "normal": RandomNormal, "uniform": RandomUniform},
        **{"IdentityInitializer": Identity, "OrthogonalInitializer": Orthogonal},
    }
)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer that `serialize` wrote.

    >>> deserialize({"class_name": "HeNormal", "config": {"seed": 3}}).seed
    3
    """
    return instance("initializer", config, INITIALIZERS | (custom_objects or {}))


__all__ = [
    "INITIALIZERS",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "drawn",
    "fans",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

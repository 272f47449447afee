"""Pictures of shapes, in text: each array of an equation as a box, its axes at its sides.

An equation is a line of tokens: `Z:BO` is the array Z with the axes B and O, anything else stands
as it is. An axis is equally long in every box, so that one sees what fits on what. Letters are
those of the contract: B batch, I inputs, O outputs, K classes, P parameters.
"""

from __future__ import annotations

HIGH = {"B": 3, "I": 5, "O": 1, "K": 1, "": 1}
WIDE = {"B": 5, "I": 11, "O": 5, "K": 5, "P": 15, "": 5}
"""Rows and columns inside a box, by its axis; a number has none."""


def box(name: str, axes: str) -> list[str]:
    """An array's box, its column's axis above and its row's at the left.

    >>> print("\\n".join(box("b", "O")))
        O
      +-----+
      |  b  |
      +-----+
    """
    rows, columns = (axes[0], axes[1]) if len(axes) == 2 else ("", axes)
    high, wide = HIGH[rows], max(WIDE[columns], len(name) + 2)
    inside = [" " * wide] * high
    inside[high // 2] = f"{name:^{wide}}"
    lines = [f"  {columns:^{wide + 2}}".rstrip(), f"  +{'-' * wide}+"]
    for i, line in enumerate(inside):
        lines.append(f"{rows if i == high // 2 else '':1} |{line}|")
    return [*lines, f"  +{'-' * wide}+"]


def picture(equation: str) -> str:
    """The boxes of an equation beside one another, on one middle line.

    >>> print(picture("dX:BI = dZ:BO @ W.T:OI"))
            I              O
      +-----------+     +-----+           I
      |           |     |     |     +-----------+
    B |    dX     | = B | dZ  | @ O |    W.T    |
      |           |     |     |     +-----------+
      +-----------+     +-----+
    """
    parts = []
    for token in equation.split():
        name, colon, axes = token.partition(":")
        parts.append(box(name, axes) if colon else [token])
    middles = [(len(part) - 2) // 2 + 1 if len(part) > 1 else 0 for part in parts]
    above = max(middles)
    below = max(len(part) - middle for part, middle in zip(parts, middles, strict=True))
    lines = [""] * (above + below)
    for part, middle in zip(parts, middles, strict=True):
        wide = max(map(len, part))
        start = above - middle
        for i in range(len(lines)):
            text = part[i - start] if 0 <= i - start < len(part) else ""
            lines[i] += f"{text:{wide}} "
    return "\n".join(line.rstrip() for line in lines)


def arrays(equation: str) -> dict[str, str]:
    """The axes of each array in an equation.

    >>> arrays("Z:BO = X:BI @ W:IO")
    {'Z': 'BO', 'X': 'BI', 'W': 'IO'}
    """
    pairs = (token.partition(":") for token in equation.split() if ":" in token)
    return {name: axes for name, _, axes in pairs}


PICTURES = {
    "dense": ("Z:BO = X:BI @ W:IO + b:O",),
    "dense_backward": ("dW:IO = X.T:IB @ dZ:BO", "db:O = sum_b dZ:BO", "dX:BI = dZ:BO @ W.T:OI"),
    "relu": ("A:BO = max( Z:BO , 0)",),
    "relu_backward": ("dZ:BO = dA:BO where Z:BO > 0",),
    "softmax_cross_entropy": ("log_p:BK = log softmax Z:BK", "losses:B = - sum_k T:BK * log_p:BK"),
    "softmax_cross_entropy_backward": ("dZ:BK = dl:B * ( exp log_p:BK - T:BK )",),
    "sgd": ("theta:P -= learning_rate * grad:P",),
    "adam": (
        "m:P += (1 - beta_1) * ( grad:P - m:P )",
        "v:P += (1 - beta_2) * ( grad:P ^2 - v:P )",
        "theta:P -= alpha * m:P / ( sqrt v:P + epsilon)",
    ),
    "forward": ("Z1:BO = X:BI @ W1:IO + b1:O", "Z2:BK = A1:BO @ W2:OK + b2:K"),
    "backward": ("dA1:BO = dZ2:BK @ W2.T:KO", "dW1:IO = X.T:IB @ dZ1:BO"),
    "train_step": ("W:IO -= learning_rate * dW:IO",),
    "sigmoid": ("A:BO = sigmoid Z:BO",),
    "sigmoid_backward": ("dZ:BO = dA:BO * A:BO * (1 - A:BO )",),
    "sigmoid_head": ("dZ:BK = ( softmax Z:BK - T:BK ) / B",),
    "sgd_momentum": (
        "velocity:P = momentum * velocity:P - learning_rate * grad:P",
        "theta:P += velocity:P",
    ),
    "adam_amsgrad": ("v_hat:P = max( v_hat:P , v:P )",),
    "leaky_relu_backward": ("dZ:BO = dA:BO * (1 or 0.2) by Z:BO",),
    "dropout": ("A:BI = X:BI * mask:BI / (1 - rate)",),
    "softmax": ("A:BK = exp Z:BK / sum_k exp Z:BK",),
    "dense_step": ("dW:IO = X.T:IB @ dZ:BO", "W:IO -= alpha * m:IO / ( sqrt v:IO + epsilon)"),
}
"""The equations of each exercise, as pictures are drawn of them."""

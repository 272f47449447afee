"""What is run, what of it is out of scope and why, and which differences are meant.

A test is out of scope for what its own code uses, read before anything runs, so that its place does
not depend on what is built today. Its code is its body with the helpers, classes and methods of the
same file that it reaches.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FILES = (
    "activations/activations",
    "callbacks/backup_and_restore",
    "callbacks/callback",
    "callbacks/csv_logger",
    "callbacks/early_stopping",
    "callbacks/lambda_callback",
    "callbacks/learning_rate_scheduler",
    "callbacks/model_checkpoint",
    "callbacks/monitor_callback",
    "callbacks/reduce_lr_on_plateau",
    "callbacks/terminate_on_nan",
    "initializers/constant_initializers",
    "initializers/initializer",
    "initializers/random_initializers",
    "layers/activations/activation",
    "layers/activations/elu",
    "layers/activations/leaky_relu",
    "layers/activations/prelu",
    "layers/activations/relu",
    "layers/activations/softmax",
    "layers/core/dense",
    "layers/core/identity",
    "layers/core/input_layer",
    "layers/layer",
    "layers/normalization/batch_normalization",
    "layers/preprocessing/normalization",
    "layers/preprocessing/rescaling",
    "layers/regularization/activity_regularization",
    "layers/regularization/dropout",
    "layers/regularization/gaussian_dropout",
    "layers/regularization/gaussian_noise",
    "layers/reshaping/flatten",
    "layers/reshaping/reshape",
    "losses/loss",
    "losses/losses",
    "metrics/accuracy_metrics",
    "metrics/confusion_metrics",
    "metrics/correlation_metrics",
    "metrics/f_score_metrics",
    "metrics/hinge_metrics",
    "metrics/metric",
    "metrics/probabilistic_metrics",
    "metrics/reduction_metrics",
    "metrics/regression_metrics",
    "models/cloning",
    "models/sequential",
    "optimizers/adadelta",
    "optimizers/adagrad",
    "optimizers/adam",
    "optimizers/adamax",
    "optimizers/adamw",
    "optimizers/ftrl",
    "optimizers/lion",
    "optimizers/nadam",
    "optimizers/optimizer",
    "optimizers/rmsprop",
    "optimizers/sgd",
    "optimizers/schedules/learning_rate_schedule",
    "regularizers/regularizers",
    "saving/object_registration",
    "saving/saving_api",
    "saving/saving_lib",
    "saving/serialization_lib",
    "trainers/compile_utils",
    "trainers/data_adapters/array_data_adapter",
    "trainers/data_adapters/data_adapter_utils",
    "trainers/epoch_iterator",
    "trainers/trainer",
    "utils/numerical_utils",
    "utils/rng_utils",
    "utils/summary_utils",
)
"""Keras's test files about what a dense network is, without `_test.py`."""

# fmt: off
LAYERS = (
    "Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization", "Dense",
    "Dropout", "ELU", "Flatten", "GaussianDropout", "GaussianNoise", "Identity", "Input",
    "InputLayer", "InputSpec", "Layer", "LeakyReLU", "Normalization", "PReLU", "ReLU",
    "Rescaling", "Reshape", "Softmax", "activations", "core", "layer", "normalization",
    "preprocessing", "regularization", "reshaping",
)
# fmt: on
"""The layers of a dense network, and the modules that Keras keeps them in."""

OUT_OF_SCOPE = (
    (
        "symbolic tensors",
        r".*\bKerasTensor|.*\bcompute_output_spec|.*_?symbolic_\w+|.*(Stateless|Symbolic)Scope"
        r"|= Input",
    ),
    (
        "functional graphs, or a model by subclassing",
        r"(models\.)?(model\.)?Model|models\.functional\..*|Functional"
        r"|get_\w*(functional|subclassed)_model|backend\.\w+\.trainer\..*|trainers\.trainer\..*",
    ),
    (
        "a layer or a loss that no dense classifier has",
        rf"layers\.(?!({'|'.join(LAYERS)})\b)\w+(\..*)?"
        r"|layers\.(attention|core\.wrapper).*|(losses\.)*(CTC|ctc)|applications\..*",
    ),
    (
        "quantisation and low-rank adapters",
        r"quantizers(\..*)?|.*\.quantiz\w+|.*\blora_\w+|.*enable_lora|'int[48]'|'lora_\w+'",
    ),
    (
        "mixed precision and policies of types",
        r"dtype_policies\..*|.*dtype_policy|'.*mixed_b?float16'|'b?float16'|.*[aA]utocast.*",
    ),
    ("distribution over devices", r"distribution(\..*)?|.*\.device|.*DistributedDataset"),
    ("sparse or ragged tensors", r"(?!.*=False).*\b(sparse|ragged)\b.*"),
    ("masks", r".*keras_mask|.*compute_mask|mask=|.*\.mask"),
    ("the order of image axes", r".*image_data_format|'channels_first'"),
    (
        "another framework's objects",
        r"(tensorflow|jax|torch|grain|openvino|orbax|pandas|utils\.module_utils)(\..*)?",
    ),
    (
        "Keras's inner workings",
        r".*\._[a-z]\w*|.*\b[rR]emat\w*|saving\.saving_lib\.(?!(save|load)_)\w+"
        r"|.*ObjectSharingScope|metrics\.metrics_utils\..*|.*\.squeeze_or_expand_to_same_rank"
        r"|trainers\..*(Adapter|CompileLoss|CompileMetrics|EpochIterator|PyDataset|_adapter)"
        r"|.*\.(class_weight_to_sample_weights|validate_float_arg|build_pos_neg_masks)"
        r"|.*\.overwrite_with_gradient|.*call_context_arg\w*|utils\.io_utils\..*|'_[A-Z]\w+'",
    ),
    ("exported formats", r"export(\..*)?|.*\.export|legacy\..*"),
)
"""Reason, and the names that it stands for: `fullmatch` on names without `keras.src.`, on keyword
arguments as `name=` and `name=value`, on strings in quotes, and on an Input that is given a name,
which is how graphs of layers begin, as `= Input`."""

BY_BRANCH = (
    "another framework's objects",
    "exported formats",
    "mixed precision and policies of types",
    "sparse or ragged tensors",
    "the order of image axes",
)
"""What a parametrised test does for some of its parameters only: found when it runs."""

BY_NAME: dict[str, str] = {
    "*float16*": "mixed precision and policies of types",
    "layers/core/dense::*::test_quantize_*": "quantisation and low-rank adapters",
    "layers/layer::*::test_*track*": "Keras's inner workings",
    "layers/layer::*_error_*8_call": "quantisation and low-rank adapters",
    "layers/layer::*_error_*quantize*": "quantisation and low-rank adapters",
    "layers/reshaping/flatten::*::*_dynamic_dimenstions": "an axis of unknown length",
    "models/cloning::*_functional": "functional graphs, or a model by subclassing",
    "models/sequential::*::test_dict_inputs": "several inputs or outputs",
    "models/sequential::*::test_list_inputs": "several inputs or outputs",
}
"""Reason by file::test, a shell pattern, for what no name in the code tells."""

FINITE = (
    "Training that stops being finite leaves the weights from before that batch, and ends in "
    "FloatingPointError unless a callback ends it; in Keras the weights are NaN by then."
)
TARGETS = (
    "Samples, targets and weights that are not finite are refused before a weight moves; Keras "
    "trains on them, to a loss that is NaN."
)
OWN_LAYERS = (
    "A layer of one's own is forward and backward, written out: there is no automatic "
    "differentiation, so that Keras's build and call are not enough to train it."
)
FOLDERS = (
    "A model is saved to one file of the name that is given, whole or not at all; not to a folder "
    "or an open file."
)
DIFFERENCES: dict[str, str] = {
    "callbacks/csv_logger::*::test_stop_training_csv": FINITE,
    "callbacks/terminate_on_nan::*::test_raise_error_*": TARGETS,
    "callbacks/terminate_on_nan::*::test_terminate_on_nan_*": TARGETS,
    "initializers/random_initializers::*::test_serialization_with_seed_generator": "A seed may be "
    "a NumPy Generator, which no JSON holds: a number is the seed of what is to be saved.",
    "layers/core/dense::*::test_dense_basics": "Dense takes one axis of features, (batch, "
    "features): further axes are flattened by a layer that says so, Flatten or Reshape.",
    "layers/layer::*::test_build_signature_errors": OWN_LAYERS,
    "layers/layer::*::test_not_implemented_error_c*": OWN_LAYERS,
    "layers/layer::*::test_training_arg_not_specified": OWN_LAYERS,
    "layers/reshaping/reshape::*_varying_input_size_*": "Every axis but the batch's has a length "
    "that is known when the model is built: parameters and their gradients are one vector.",
    "metrics/confusion_metrics::*::test_handles_sas_metrics": "A loss or metric of an unknown name "
    "is refused by compile, with the names that are known, and not by the first fit.",
    "metrics/metric::*::test_variable_tracking": "A metric's variables are those that it makes by "
    "add_variable: there are no tensors to look for in its attributes.",
    "models/sequential::*::test_bad_layer": "A layer's forward has one input, and add takes only "
    "layers with such a forward: there is no call to look at.",
    "models/sequential::*::test_hasattr": "A model is a list of layers, not a graph: it has "
    "input_shape and output_shape, and no symbolic inputs and outputs.",
    "models/sequential::*::test_nested_sequential": "A model within a model is built first, since "
    "it brings its weights along.",
    "optimizers/optimizer::*::test_optimizer_auto_naming": "An optimizer's name is its rule's: no "
    "count is kept for the process of how many were made.",
    "saving/saving_api::*_h5_format": "A whole model is saved as .keras or .npz: the older .h5 of "
    "whole models is neither read nor written.",
    "saving/saving_api::*::test_load_unsupported_format": "A file that is not there is said not to "
    "be there, whatever its name ends in.",
    "saving/saving_api::*::test_save_unzipped": FOLDERS,
    "saving/saving_lib::*::test_save_to_fileobj": FOLDERS,
    "saving/serialization_lib::*::test_layer_instance_as_activation": "An activation is one of the "
    "table's, by name or function, as each has its derivative beside it; a layer is put into the "
    "model.",
    "trainers/trainer::*::test_internal_only_loss": "fit needs a loss in compile: regularizers "
    "alone would train a model towards zero.",
    "trainers/trainer::*::test_predict_generator_*": "A sample has at least one axis.",
}
"""Tests that fail because scratchnet means to differ: file::test, a shell pattern -> why. The page
docs/differences.md is made of these."""

NAMED = ("activations", "initializers", "layers", "losses", "metrics", "optimizers", "regularizers")
"""Rooms whose names may be given as strings."""

SHORT = frozenset(("acc", "bce", "kld", "l1", "l1l2", "l2", "mae", "mape", "mse", "msle"))
"""Strings that Keras takes beside the names that it exports."""


@cache
def keras_folder() -> Path:
    """Where Keras is installed; it is not imported."""
    spec = find_spec("keras")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("no Keras: pip install 'keras>=3.10,<4' 'tensorflow>=2.20,<3'")
    return Path(next(iter(spec.submodule_search_locations)))


def reason(name: str) -> str | None:
    """Why a name, argument or string is out of scope, or None.

    >>> reason("layers.Conv2D"), reason("layers.Dense")
    ('a layer or a loss that no dense classifier has', None)
    """
    return next((why for why, names in OUT_OF_SCOPE if re.fullmatch(names, name)), None)


class Source:
    """A test file, read and not run: what the code of each test uses.

    Attributes:
        aliases: what the names that the file imports stand for.
        own: attributes that the file's own classes set on themselves.
    """

    def __init__(self, text: str):
        tree = ast.parse(text)
        self.aliases = dict(imported(tree.body))
        self.own = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and named(node.value) == "self"
        }
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.functions = {
            node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)
        }

    def reason(self, owner: str, test: str) -> tuple[str, str] | None:
        """Why the test is out of scope and the name that says so, or None."""
        node = self.test(owner, test)
        parametrised = node is not None and node.name != test
        for name in self.uses(owner, node):
            why = reason(name)
            if why is not None and not (parametrised and why in BY_BRANCH):
                return why, name
        return None

    def uses(self, owner: str, test: ast.FunctionDef | None) -> Iterator[str]:
        """Names, arguments and strings in the code of a test."""
        seen: set[ast.AST] = set()
        waiting: list[tuple[str, ast.AST | None]] = [(owner, test)]
        while waiting:
            owner, node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            body = node.body if isinstance(node, ast.FunctionDef) else [*node.bases, *node.body]
            yield from self.names(body)
            waiting += self.reached(owner, body)

    def reached(self, owner: str, body: list[ast.AST]) -> Iterator[tuple[str, ast.AST | None]]:
        """Functions, classes and methods of this file that some code names."""
        for node in (part for top in body for part in ast.walk(top)):
            if isinstance(node, ast.Name) and node.id in self.functions:
                yield owner, self.functions[node.id]
            elif isinstance(node, ast.Name) and node.id in self.classes:
                yield node.id, self.classes[node.id]
            elif isinstance(node, ast.Attribute) and named(node.value) in ("self", "test_case"):
                yield owner, self.method(owner, node.attr)

    def test(self, owner: str, name: str) -> ast.FunctionDef | None:
        """The method that a test runs; a parametrised one's name goes on after the method's."""
        found = (self.method(owner, name[:end]) for end in range(len(name), len("test"), -1))
        return next((node for node in found if node is not None), None)

    def method(self, owner: str, name: str) -> ast.FunctionDef | None:
        """A method of a class, or of its bases in this file."""
        if owner not in self.classes:
            return None
        for node in self.classes[owner].body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node
        found = (self.method(base.id, name) for base in bases(self.classes[owner]))
        return next((node for node in found if node is not None), None)

    def names(self, body: list[ast.AST]) -> Iterator[str]:
        """What a piece of code uses, as OUT_OF_SCOPE writes it."""
        aliases = self.aliases | dict(imported([part for top in body for part in ast.walk(top)]))
        for node in (part for top in body for part in ast.walk(top)):
            if isinstance(node, ast.Attribute | ast.Name):
                head, _, rest = named(node).partition(".")
                if not (head == "self" and "." not in rest) and rest not in self.own:
                    yield short(f"{aliases.get(head, head)}.{rest}".removesuffix("."))
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                if named(node.value.func).endswith("Input"):
                    yield "= Input"
            elif isinstance(node, ast.keyword) and node.arg:
                yield f"{node.arg}="
                if isinstance(node.value, ast.Constant):
                    yield f"{node.arg}={node.value.value!r}"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield repr(node.value)


def bases(node: ast.ClassDef) -> list[ast.Name]:
    return [base for base in node.bases if isinstance(base, ast.Name)]


def named(node: ast.AST) -> str:
    """`a.b.c` of an expression; what is called or indexed on the way keeps only its dots."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{named(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def imported(body: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Names that imports bind, with what they stand for, without `keras.src.`."""
    for node in body:
        if isinstance(node, ast.If):
            yield from imported([*node.body, *node.orelse])
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, short(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                full = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or full, short(full)


def short(dotted: str) -> str:
    return dotted.removeprefix("keras.src.").removeprefix("keras.")

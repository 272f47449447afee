"""Keras's names that are not built here: what each is, and what stands nearest.

A room's `__getattr__` answers for them, in one sentence, for `room.name` and for `from room import
name` alike. It knows names only, and imports nothing of ours.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from typing import Any, NoReturn

TABLE: dict[str, tuple[tuple[str, str, str], ...]] = {
    # room: what they are, what stands nearest, their names
    "": (
        ("a graph of layers", "Sequential", "Model Function"),
        ("a symbolic tensor", "a NumPy array", "KerasTensor Variable InputSpec"),
        (
            "part of a compiler's or a policy's workings",
            "config.set_floatx, for the type of numbers",
            "DTypePolicy FloatDTypePolicy Quantizer Operation RematScope StatelessScope "
            "SymbolicScope device dtype_policies mixed_precision name_scope remat",
        ),
        ("a room of functions on tensors", "NumPy", "ops random tree"),
        ("a room of large networks", "Sequential", "applications"),
        (
            "a room of tools for training at scale or for export",
            "model.save, for files",
            "distillation distribution export legacy quantizers",
        ),
        ("a room of limits on weights", "regularizers", "constraints"),
        ("a room for raw data", "datasets", "preprocessing"),
        ("a room of drawings", "plots", "visualization"),
        ("a wrapper for scikit-learn", "Sequential", "wrappers"),
        ("Keras's version", "__version__", "version"),
    ),
    "activations": (
        (
            "an activation",
            "elu, softplus, hard_sigmoid and relu",
            "celu glu hard_shrink hard_silu hard_swish hard_tanh log_sigmoid soft_shrink "
            "sparse_plus sparse_sigmoid sparsemax squareplus tanh_shrink threshold",
        ),
    ),
    "callbacks": (
        (
            "a callback that writes files",
            "callbacks.ModelCheckpoint and CSVLogger",
            "OrbaxCheckpoint TensorBoard",
        ),
        ("a callback", "Callback and LambdaCallback", "ProgbarLogger RemoteMonitor"),
        ("a callback for averaged weights", "use_ema of an optimizer", "SwapEMAWeights"),
    ),
    "datasets": (
        (
            "a data set",
            "datasets.mnist and datasets.fashion_mnist",
            "boston_housing california_housing cifar10 cifar100 imdb reuters",
        ),
    ),
    "initializers": (("a Fourier basis", "initializers.Orthogonal", "STFT STFTInitializer stft"),),
    "layers": (
        (
            "a convolution or goes with one",
            "Flatten and Dense",
            "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
            "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D AveragePooling1D "
            "AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D Conv1D "
            "Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose Convolution1D "
            "Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D "
            "Convolution3DTranspose Cropping1D Cropping2D Cropping3D DepthwiseConv1D "
            "DepthwiseConv2D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
            "GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D "
            "GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D MaxPool1D "
            "MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D SeparableConv1D "
            "SeparableConv2D SeparableConvolution1D SeparableConvolution2D SpatialDropout1D "
            "SpatialDropout2D SpatialDropout3D UpSampling1D UpSampling2D UpSampling3D "
            "ZeroPadding1D ZeroPadding2D ZeroPadding3D",
        ),
        (
            "a layer for sequences",
            "Dense",
            "AdditiveAttention Attention Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D Embedding "
            "GRU GRUCell GroupQueryAttention LSTM LSTMCell Masking MultiHeadAttention RNN "
            "RepeatVector ReversibleEmbedding SimpleRNN SimpleRNNCell StackedRNNCells "
            "TimeDistributed",
        ),
        (
            "a layer of several inputs",
            "Sequential, a stack",
            "Add Average Concatenate Dot Maximum Minimum Multiply Subtract add average "
            "concatenate dot maximum minimum multiply subtract",
        ),
        (
            "a change of pictures or sounds",
            "datasets.augmentation and Rescaling",
            "AugMix AutoContrast CenterCrop ContrastLimitedAdaptiveHistogramEqualization CutMix "
            "Equalization MaxNumBoundingBoxes MelSpectrogram MixUp Pipeline RandAugment "
            "RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop "
            "RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale "
            "RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation "
            "RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom Resizing "
            "STFTSpectrogram Solarization",
        ),
        (
            "a change of categories or texts into numbers",
            "utils.to_categorical and Normalization",
            "CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup StringLookup "
            "TextVectorization",
        ),
        (
            "a normalisation",
            "BatchNormalization",
            "GroupNormalization LayerNormalization RMSNormalization SpectralNormalization "
            "UnitNormalization",
        ),
        ("a layer with more axes", "Dense, Reshape and Flatten", "EinsumDense Permute"),
        ("an activation with weights of its own", "LeakyReLU", "PReLU"),
        ("noise", "Dropout and GaussianDropout", "AlphaDropout"),
        (
            "a wrapper for other code",
            "a subclass of Layer",
            "FlaxLayer JaxLayer Lambda TFSMLayer TorchModuleWrapper Wrapper InputSpec",
        ),
    ),
    "losses": (
        (
            "a loss",
            "MeanSquaredError, Huber and CategoricalCrossentropy",
            "BinaryFocalCrossentropy CTC CategoricalFocalCrossentropy "
            "CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice "
            "Hinge LogCosh MeanAbsolutePercentageError MeanSquaredLogarithmicError Poisson "
            "SquaredHinge Tversky binary_focal_crossentropy categorical_focal_crossentropy "
            "categorical_generalized_cross_entropy categorical_hinge circle cosine_similarity ctc "
            "dice hinge log_cosh mean_absolute_percentage_error mean_squared_logarithmic_error "
            "poisson squared_hinge tversky",
        ),
    ),
    "metrics": (
        (
            "a metric of regions",
            "Precision and Recall",
            "BinaryIoU IoU MeanIoU OneHotIoU OneHotMeanIoU",
        ),
        (
            "a metric",
            "MeanSquaredError and CategoricalCrossentropy",
            "CategoricalHinge ConcordanceCorrelation CosineSimilarity Hinge LogCoshError "
            "MeanAbsolutePercentageError MeanSquaredLogarithmicError PearsonCorrelation Poisson "
            "R2Score SquaredHinge binary_focal_crossentropy categorical_focal_crossentropy "
            "categorical_hinge concordance_correlation hinge log_cosh "
            "mean_absolute_percentage_error mean_squared_logarithmic_error pearson_correlation "
            "poisson squared_hinge",
        ),
    ),
    "models": (("a graph of layers", "Sequential", "Model"),),
    "optimizers": (
        (
            "an optimizer",
            "SGD, Adam, AdamW, Nadam, RMSprop and Adagrad",
            "Adadelta Adafactor Adamax Ftrl Lamb Lion Muon ScheduleFreeAdamW",
        ),
        (
            "an optimizer around others",
            "one optimizer for the whole model",
            "LossScaleOptimizer MultiOptimizer OptimizerMap legacy",
        ),
    ),
    "saving": (
        (
            "a table of names that files may use",
            "custom_objects of models.load_model",
            "CustomObjectScope custom_object_scope get_custom_objects get_registered_name "
            "get_registered_object register_keras_serializable",
        ),
        (
            "a way into or out of files",
            "models.load_model and model.save",
            "KerasFileEditor deserialize_keras_object load_model load_weights save_model "
            "save_weights serialize_keras_object",
        ),
    ),
    "utils": (
        (
            "a tool for files of pictures, sounds or texts",
            "datasets, and `scratchnet predict`",
            "array_to_img audio_dataset_from_directory get_file image_dataset_from_directory "
            "img_to_array load_img pad_sequences save_img split_dataset "
            "text_dataset_from_directory timeseries_dataset_from_array FeatureSpace "
            "bounding_boxes",
        ),
        (
            "a tool for batches and progress",
            "PyDataset, and the progress bar of fit",
            "Progbar Config disable_interactive_logging "
            "enable_interactive_logging is_interactive_logging_enabled pack_x_y_sample_weight "
            "unpack_x_y_sample_weight",
        ),
        (
            "a tool for names in files",
            "custom_objects of models.load_model",
            "CustomObjectScope custom_object_scope deserialize_keras_object get_custom_objects "
            "get_registered_name get_registered_object register_keras_serializable "
            "serialize_keras_object",
        ),
        (
            "a tool for graphs",
            "model.summary and backend.clear_session",
            "clear_session get_source_inputs is_keras_tensor legacy model_to_dot plot_model "
            "standardize_dtype",
        ),
    ),
    "config": (
        (
            "a setting of Keras's backends",
            "set_floatx and set_engine",
            "backend disable_flash_attention disable_interactive_logging "
            "disable_traceback_filtering dtype_policy enable_flash_attention "
            "enable_interactive_logging enable_traceback_filtering enable_unsafe_deserialization "
            "image_data_format is_flash_attention_enabled is_interactive_logging_enabled "
            "is_nnx_enabled is_traceback_filtering_enabled max_epochs max_steps_per_epoch "
            "set_backend set_dtype_policy set_epsilon set_image_data_format set_max_epochs "
            "set_max_steps_per_epoch",
        ),
    ),
    "backend": (
        (
            "a question about tensors",
            "NumPy and config",
            "backend get_uid image_data_format is_float_dtype is_int_dtype is_keras_tensor "
            "result_type set_epsilon set_image_data_format standardize_dtype",
        ),
    ),
}
"""Refused on purpose: graphs, convolution, recurrence, symbolic tensors, distribution, mixed
precision; and what is rarely asked of a dense classifier."""


class NotBuiltHereError(AttributeError):
    """A name of Keras's that is not built here.

    >>> issubclass(NotBuiltHereError, AttributeError)
    True
    """


def sentence(room: str, name: str) -> str | None:
    """What is said of a name of Keras's in a room, or None for one that is not in the table.

    >>> sentence("losses", "Hinge")[:62]
    'losses.Hinge is not built here: it is a loss; the nearest here'
    """
    for what, nearest, names in TABLE[room]:
        if name in names.split():
            full = f"{room}.{name}".removeprefix(".")
            return f"{full} is not built here: it is {what}; the nearest here: {nearest}."
    return None


def refusing(module: str) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module of ours.

    >>> refusing("scratchnet.layers")("PReLU")
    Traceback (most recent call last):
    scratchnet.unbuilt.NotBuiltHereError: layers.PReLU is not built here: it is an activation with
    weights of its own; the nearest here: LeakyReLU.
    """
    room = module.partition(".")[2]

    def refuse(name: str) -> NoReturn:
        said = sentence(room, name)
        if said is None:
            thing: Any = sys.modules.get(module)
            raise AttributeError(
                f"module {module!r} has no attribute {name!r}", name=name, obj=thing
            )
        # `from room import name` makes an ImportError of its own of any AttributeError.
        frame = sys._getframe(1)
        if frame.f_code.co_code[max(frame.f_lasti, 0)] == dis.opmap["IMPORT_FROM"]:
            raise ImportError(said, name=module)
        raise NotBuiltHereError(said, name=name, obj=sys.modules.get(module))

    return refuse

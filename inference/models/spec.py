"""The model spec: a model's whole input and output contract, its declaration merged with its signature.

It refuses a declaration that contradicts the model: better no model than one that answers nonsense.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.errors import ModelUnavailable
from inference.models.declaration import (
    DECLARATION_NAME,
    Activation,
    Color,
    Declaration,
    DeclaredExecution,
    Decoder,
    Interpolation,
    Layout,
    Resize,
    Task,
)
from inference.models.signature import Signature, TensorInfo

DEFAULT_TOP_K = 5
#: The grey that YOLO models are trained with around their images.
DEFAULT_PAD = 114
_IMAGE_DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """How upright RGB pixels become the input tensor: a channel's value is pixel * gain + bias."""

    width: int
    height: int
    channels: int
    resize: Resize
    #: The shorter side's length before the centre crop; None: just enough to cover the crop.
    resize_to: int | None
    interpolation: Interpolation
    layout: Layout
    color: Color
    dtype: str
    gain: tuple[float, ...]
    bias: tuple[float, ...]
    pad: int


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What the outputs mean. `name` is the one that holds the prediction; None for tasks that read several."""

    name: str | None
    activation: Activation
    labels: tuple[str, ...]
    top_k: int

    def label(self, index: int) -> str:
        """Return the label of a class; without labels, its index."""
        return self.labels[index] if self.labels else str(index)


@dataclass(frozen=True, slots=True)
class DetectionSpec:
    """How boxes come out of the outputs."""

    decoder: Decoder
    score_threshold: float
    iou_threshold: float
    max_detections: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that the stages around a run need to know about a model."""

    task: Task
    #: The model's only input; None when a tensor model has several.
    input_name: str | None
    #: None for models that take no image.
    image: ImageSpec | None
    output: OutputSpec
    detection: DetectionSpec | None
    execution: DeclaredExecution
    #: Whether several items fit into one run.
    has_dynamic_batch: bool


def resolve_spec(declared: Declaration, signature: Signature, labels: tuple[str, ...] = ()) -> ModelSpec:
    """Merge what `model.toml` and the model say. Raises ModelUnavailable, naming the key, where they contradict."""
    task = declared.task or _guess_task(declared, signature)
    tensor = None if task == "tensor" else _only_input(declared, signature)
    if task == "text" and tensor is not None and tensor.dtype != "string":
        raise _refusal("task", f"a text model takes strings, input {tensor.name} takes {tensor.dtype}")
    image = _image_spec(declared, tensor, task) if tensor is not None and task != "text" else None
    has_dynamic_batch = _has_dynamic_batch(signature.inputs)
    if not has_dynamic_batch and (declared.execution.max_batch or 1) > 1:
        raise _refusal("execution.max_batch", "the model takes one item a run")
    single = signature.inputs[0].name if len(signature.inputs) == 1 else None
    return ModelSpec(
        task=task,
        input_name=tensor.name if tensor is not None else single,
        image=image,
        output=_output_spec(declared, signature, task, labels),
        detection=_detection_spec(declared, task),
        execution=declared.execution,
        has_dynamic_batch=has_dynamic_batch,
    )


def _guess_task(declared: Declaration, signature: Signature) -> Task:
    if declared.detection is not None:
        return "detection"
    if len(signature.inputs) != 1:
        return "tensor"
    tensor = signature.inputs[0]
    if tensor.dtype == "string":
        return "text"
    is_image = len(tensor.shape) == 4 and tensor.dtype in _IMAGE_DTYPES
    return "classification" if is_image and len(signature.outputs) == 1 else "tensor"


def _only_input(declared: Declaration, signature: Signature) -> TensorInfo:
    names = ", ".join(tensor.name for tensor in signature.inputs)
    if len(signature.inputs) != 1:
        raise _refusal("task", f"only a tensor model has several inputs; this one has {names}")
    tensor = signature.inputs[0]
    if declared.input.name not in (None, tensor.name):
        raise _refusal("input.name", f"the model's input is {tensor.name}")
    return tensor


def _image_spec(declared: Declaration, tensor: TensorInfo, task: Task) -> ImageSpec:
    if len(tensor.shape) != 4:
        raise _refusal("task", f"a {task} model takes four dimensions, input {tensor.name} has {len(tensor.shape)}")
    if tensor.dtype not in _IMAGE_DTYPES:
        raise _refusal("task", f"a {task} model takes {', '.join(_IMAGE_DTYPES)}; this one takes {tensor.dtype}")
    if tensor.shape[0] not in (None, 1):
        raise _refusal("task", f"input {tensor.name} takes {tensor.shape[0]} images a run; one or any number is served")
    layout = declared.input.layout or _guess_layout(tensor)
    rows, columns, depth = (2, 3, 1) if layout == "NCHW" else (1, 2, 3)
    width, height = _size(declared, tensor.shape[columns], tensor.shape[rows])
    color, channels = _color(declared, tensor.shape[depth])
    gain, bias = _normalisation(declared, tensor, channels)
    return ImageSpec(
        width=width,
        height=height,
        channels=channels,
        resize=declared.input.resize or ("letterbox" if task == "detection" else "shorter-side"),
        resize_to=_resize_to(declared, width, height),
        interpolation=declared.input.interpolation or "bilinear",
        layout=layout,
        color=color,
        dtype=tensor.dtype,
        gain=gain,
        bias=bias,
        pad=DEFAULT_PAD if declared.input.pad is None else declared.input.pad,
    )


def _guess_layout(tensor: TensorInfo) -> Layout:
    if tensor.shape[1] in (1, 3):
        return "NCHW"
    if tensor.shape[3] in (1, 3):
        return "NHWC"
    raise _refusal("input.layout", "it must be given, as the model's shape does not tell it")


def _size(declared: Declaration, width: int | None, height: int | None) -> tuple[int, int]:
    if declared.input.size is None:
        if not width or not height:
            raise _refusal("input.size", "it must be given, as the model takes any size")
        return width, height
    for mine, models in zip(declared.input.size, (width, height), strict=True):
        if models is not None and mine != models:
            raise _refusal("input.size", f"the model takes {width or 'any'} x {height or 'any'}")
    return declared.input.size


def _color(declared: Declaration, channels: int | None) -> tuple[Color, int]:
    color = declared.input.color or ("L" if channels == 1 else "RGB")
    wanted = 1 if color == "L" else 3
    if channels not in (None, wanted):
        raise _refusal("input.color", f"{color} has {wanted} channels, the model takes {channels}")
    return color, wanted


def _normalisation(
    declared: Declaration, tensor: TensorInfo, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fold (pixel * scale - mean) / std into one multiplication and one addition."""
    if tensor.dtype == "uint8":
        if (declared.input.scale, declared.input.mean, declared.input.std) != (None, None, None):
            raise _refusal("input.scale", "a uint8 model takes pixels as they are: leave out scale, mean and std")
        return (1.0,) * channels, (0.0,) * channels
    scale = 1 / 255 if declared.input.scale is None else declared.input.scale
    mean = _per_channel("input.mean", declared.input.mean or (0.0,), channels)
    std = _per_channel("input.std", declared.input.std or (1.0,), channels)
    return tuple(scale / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True))


def _per_channel(key: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise _refusal(key, f"it has {len(values)} values for {channels} channels")
    return values if len(values) == channels else values * channels


def _resize_to(declared: Declaration, width: int, height: int) -> int | None:
    resize_to = declared.input.resize_to
    if resize_to is not None and declared.input.resize not in (None, "shorter-side"):
        raise _refusal("input.resize_to", f"it has no meaning with resize = {declared.input.resize!r}")
    if resize_to is not None and resize_to < max(width, height):
        raise _refusal("input.resize_to", f"it is smaller than the crop of {width} x {height}")
    return resize_to


def _output_spec(declared: Declaration, signature: Signature, task: Task, labels: tuple[str, ...]) -> OutputSpec:
    names = [tensor.name for tensor in signature.outputs]
    name = declared.output.name
    if name is not None and name not in names:
        raise _refusal("output.name", f"the model's outputs are {', '.join(names)}")
    if name is None and len(names) == 1:
        name = names[0]
    if task == "classification":
        if name is None:
            raise _refusal("output.name", f"it must be given, as the model has the outputs {', '.join(names)}")
        _check_labels(labels, signature.outputs[names.index(name)])
    default: Activation = "softmax" if task == "classification" else "none"
    return OutputSpec(name, declared.output.activation or default, labels, declared.output.top_k or DEFAULT_TOP_K)


def _check_labels(labels: tuple[str, ...], output: TensorInfo) -> None:
    # Classes may stand in any dimension (1 x 1000 x 1 x 1), but only one dimension may be other than 1.
    fixed = [size for size in output.shape[1:] if size != 1]
    classes = fixed[0] if len(fixed) == 1 else 1 if not fixed and len(output.shape) > 1 else None
    if labels and classes is not None and len(labels) != classes:
        raise _refusal("output.labels", f"{len(labels)} labels for {classes} classes")


def _detection_spec(declared: Declaration, task: Task) -> DetectionSpec | None:
    detection = declared.detection
    if task != "detection":
        if detection is not None:
            raise _refusal("detection", f"the table has no meaning with task = {task!r}")
        return None
    if detection is None or detection.decoder is None:
        raise _refusal("detection.decoder", "a detection model must name the decoder of its outputs")
    return DetectionSpec(
        decoder=detection.decoder,
        score_threshold=0.35 if detection.score_threshold is None else detection.score_threshold,
        iou_threshold=0.45 if detection.iou_threshold is None else detection.iou_threshold,
        max_detections=detection.max_detections or 100,
    )


def _has_dynamic_batch(inputs: tuple[TensorInfo, ...]) -> bool:
    return bool(inputs) and all(tensor.shape[:1] == (None,) for tensor in inputs)


def _refusal(key: str, reason: str) -> ModelUnavailable:
    return ModelUnavailable(f"{DECLARATION_NAME}: {key}: {reason}.")

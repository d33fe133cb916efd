"""The model spec: a model's whole input and output contract, its declaration merged with its signature.

It refuses a declaration that contradicts the model: better no model than one that answers nonsense.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from inference.models.declaration import (
    Color,
    Declaration,
    DeclaredExecution,
    Interpolation,
    Layout,
    Resize,
    Task,
    refusal,
)
from inference.models.output_spec import DetectionSpec, OutputSpec, resolve_detection, resolve_output
from inference.models.signature import Signature, TensorInfo

#: What `model.toml` may declare, and the one that a version's own score.py makes of it.
type ServedTask = Task | Literal["script"]

#: The grey that YOLO models are trained with around their images.
DEFAULT_PAD = 114
_IMAGE_DTYPES = ("float32", "float16", "uint8")


class ImageSpec(Struct, frozen=True):
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


class ModelSpec(Struct, frozen=True):
    """All that the stages around a run need to know about a model."""

    task: ServedTask
    #: The model's only input; None when a tensor model has several.
    input_name: str | None
    #: None for models that take no image.
    image: ImageSpec | None
    output: OutputSpec
    detection: DetectionSpec | None
    execution: DeclaredExecution
    #: Whether several items fit into one run.
    has_dynamic_batch: bool
    #: The shape of the string tensor that holds one text, all ones; None for models that take no text.
    text_shape: tuple[int, ...] | None = None

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs that the task reads, so that the graph's others need not be computed; empty: all."""
        match self.task:
            case "detection" if self.detection is not None:
                return tuple(dict.fromkeys(self.detection.outputs.values()))
            case "classification" | "text" if self.output.name is not None:
                return tuple(filter(None, (self.output.label_name, self.output.name)))
            case _:
                return ()


def resolve_spec(declared: Declaration, signature: Signature, labels: tuple[str, ...] = ()) -> ModelSpec:
    """Merge what `model.toml` and the model say. Raises ModelUnavailable, naming the key, where they contradict."""
    task = declared.task or _guess_task(declared, signature)
    _check_input_name(declared, signature)
    if task == "tensor":
        _check_tensors(signature)
    tensor = None if task == "tensor" else _only_input(signature)
    text_shape = _text_shape(tensor) if tensor is not None and task == "text" else None
    image = _image_spec(declared, tensor, task) if tensor is not None and task != "text" else None
    has_dynamic_batch = _has_dynamic_batch(signature.inputs)
    if not has_dynamic_batch and (declared.execution.max_batch or 1) > 1:
        raise refusal("execution.max_batch", "the model takes one item a run")
    single = signature.inputs[0].name if len(signature.inputs) == 1 else None
    return ModelSpec(
        task=task,
        input_name=tensor.name if tensor is not None else single,
        image=image,
        output=resolve_output(declared, signature, task, labels),
        detection=resolve_detection(declared, signature, task, labels),
        execution=declared.execution,
        has_dynamic_batch=has_dynamic_batch,
        text_shape=text_shape,
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


def _check_input_name(declared: Declaration, signature: Signature) -> None:
    names = [tensor.name for tensor in signature.inputs]
    if declared.input.name not in (None, *names):
        raise refusal("input.name", f"the model's input is {', '.join(names) or 'none'}")


def _check_tensors(signature: Signature) -> None:
    """Refuse a model that no request can be made for, or whose reply would always be empty."""
    for tensor in signature.inputs:
        if not tensor.is_plain:
            raise refusal(
                "task", f"a tensor model takes tensors that requests can hold, {tensor.name} is {tensor.dtype}"
            )
    if not any(tensor.is_plain for tensor in signature.outputs):
        kinds = ", ".join(f"{tensor.name} is {tensor.dtype}" for tensor in signature.outputs)
        raise refusal("task", f"a tensor model gives tensors that replies can hold, {kinds}")


def _only_input(signature: Signature) -> TensorInfo:
    names = ", ".join(tensor.name for tensor in signature.inputs)
    if len(signature.inputs) != 1:
        raise refusal("task", f"only a tensor model has several inputs; this one has {names}")
    return signature.inputs[0]


def _text_shape(tensor: TensorInfo) -> tuple[int, ...]:
    if tensor.dtype != "string":
        raise refusal("task", f"a text model takes strings, input {tensor.name} takes {tensor.dtype}")
    if any(size not in (None, 1) for size in tensor.shape):
        raise refusal("task", f"a text model takes one string an item, input {tensor.name} takes several")
    return (1,) * len(tensor.shape)


def _image_spec(declared: Declaration, tensor: TensorInfo, task: Task) -> ImageSpec:
    if len(tensor.shape) != 4:
        raise refusal("task", f"a {task} model takes four dimensions, input {tensor.name} has {len(tensor.shape)}")
    if tensor.dtype not in _IMAGE_DTYPES:
        raise refusal("task", f"a {task} model takes {', '.join(_IMAGE_DTYPES)}; this one takes {tensor.dtype}")
    if tensor.shape[0] not in (None, 1):
        raise refusal("task", f"input {tensor.name} takes {tensor.shape[0]} images a run; one or any number is served")
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
    raise refusal("input.layout", "it must be given, as the model's shape does not tell it")


def _size(declared: Declaration, width: int | None, height: int | None) -> tuple[int, int]:
    if declared.input.size is None:
        if not width or not height:
            raise refusal("input.size", "it must be given, as the model takes any size")
        return width, height
    for mine, models in zip(declared.input.size, (width, height), strict=True):
        if models is not None and mine != models:
            raise refusal("input.size", f"the model takes {width or 'any'} x {height or 'any'}")
    return declared.input.size


def _color(declared: Declaration, channels: int | None) -> tuple[Color, int]:
    color = declared.input.color or ("L" if channels == 1 else "RGB")
    wanted = 1 if color == "L" else 3
    if channels not in (None, wanted):
        is_layout = declared.input.color is None and declared.input.layout is not None
        key, place = ("input.layout", f" in {declared.input.layout}") if is_layout else ("input.color", "")
        raise refusal(key, f"{color} has {wanted} channels, the model takes {channels}{place}")
    return color, wanted


def _normalisation(
    declared: Declaration, tensor: TensorInfo, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fold (pixel * scale - mean) / std into one multiplication and one addition."""
    if tensor.dtype == "uint8":
        for key in ("scale", "mean", "std"):
            if getattr(declared.input, key) is not None:
                raise refusal(f"input.{key}", "a uint8 model takes pixels as they are: leave out scale, mean and std")
        return (1.0,) * channels, (0.0,) * channels
    scale = 1 / 255 if declared.input.scale is None else declared.input.scale
    mean = _per_channel("input.mean", declared.input.mean or (0.0,), channels)
    std = _per_channel("input.std", declared.input.std or (1.0,), channels)
    return tuple(scale / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True))


def _per_channel(key: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise refusal(key, f"it has {len(values)} values for {channels} channels")
    return values if len(values) == channels else values * channels


def _resize_to(declared: Declaration, width: int, height: int) -> int | None:
    resize_to = declared.input.resize_to
    if resize_to is not None and declared.input.resize not in (None, "shorter-side"):
        raise refusal("input.resize_to", f"it has no meaning with resize = {declared.input.resize!r}")
    if resize_to is not None and resize_to < max(width, height):
        raise refusal("input.resize_to", f"it is smaller than the crop of {width} x {height}")
    return resize_to


def _has_dynamic_batch(inputs: tuple[TensorInfo, ...]) -> bool:
    return bool(inputs) and all(tensor.shape[:1] == (None,) for tensor in inputs)

"""A small convolutional network in numpy: forward, backward, Adam, and its export to ONNX.

It refuses to know its data: images come in as N x 1 x H x W, classes as integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

type Array = NDArray[np.float32]
type Parameters = dict[str, Array]

_KERNEL = 3
_OPSET = 17
#: What ONNX 1.12 wrote with opset 17, so that every onnxruntime of the last years reads it.
_IR_VERSION = 8


def initial_parameters(random: np.random.Generator, side: int, channels: tuple[int, int], classes: int) -> Parameters:
    """Return He-initialised parameters: two convolutions, each halved by a pool, and a dense layer."""
    first, second = channels
    features = second * (side // 4) ** 2

    def he(*shape: int) -> Array:
        return np.asarray(random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])), np.float32)

    return {
        "conv1.weight": he(first, 1, _KERNEL, _KERNEL),
        "conv1.bias": np.zeros(first, np.float32),
        "conv2.weight": he(second, first, _KERNEL, _KERNEL),
        "conv2.bias": np.zeros(second, np.float32),
        "dense.weight": he(classes, features),
        "dense.bias": np.zeros(classes, np.float32),
    }


def loss_gradients(parameters: Parameters, images: Array, classes: NDArray[np.int64]) -> tuple[float, Parameters]:
    """Return the mean cross-entropy of a batch and its gradient for each parameter."""
    first, first_cache = _conv_block(images, parameters["conv1.weight"], parameters["conv1.bias"])
    second, second_cache = _conv_block(first, parameters["conv2.weight"], parameters["conv2.bias"])
    features = second.reshape(len(images), -1)
    logits = features @ parameters["dense.weight"].T + parameters["dense.bias"]

    rows = np.arange(len(images))
    log_probabilities = logits - logits.max(axis=1, keepdims=True)
    log_probabilities -= np.log(np.exp(log_probabilities).sum(axis=1, keepdims=True))
    d_logits = np.exp(log_probabilities)
    d_logits[rows, classes] -= 1
    d_logits /= len(images)

    gradients = {"dense.weight": d_logits.T @ features, "dense.bias": d_logits.sum(axis=0)}
    d_second = (d_logits @ parameters["dense.weight"]).reshape(second.shape)
    d_first, gradients["conv2.weight"], gradients["conv2.bias"] = _conv_block_backward(d_second, second_cache)
    _, gradients["conv1.weight"], gradients["conv1.bias"] = _conv_block_backward(d_first, first_cache)
    return float(-log_probabilities[rows, classes].mean()), gradients


@dataclass(slots=True)
class Adam:
    """The optimiser of Kingma and Ba (2015) with decoupled weight decay on the weights."""

    parameters: Parameters
    weight_decay: float
    _step: int = 0
    _mean: Parameters = field(default_factory=dict)
    _square: Parameters = field(default_factory=dict)

    def update(self, gradients: Parameters, learning_rate: float) -> None:
        """Move the parameters one step against the gradients, in place."""
        self._step += 1
        for name, gradient in gradients.items():
            mean = self._mean.setdefault(name, np.zeros_like(gradient))
            square = self._square.setdefault(name, np.zeros_like(gradient))
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            step = mean / (1 - 0.9**self._step) / (np.sqrt(square / (1 - 0.999**self._step)) + 1e-8)
            if name.endswith("weight"):
                step = step + self.weight_decay * self.parameters[name]
            self.parameters[name] -= np.float32(learning_rate) * step


def export_onnx(parameters: Parameters, side: int) -> onnx.ModelProto:
    """Return the network as an ONNX model, `input` (batch x 1 x side x side) to `logits` (batch x classes)."""
    nodes = []
    previous = "input"
    for block in ("conv1", "conv2"):
        inputs = [previous, f"{block}.weight", f"{block}.bias"]
        nodes += [
            helper.make_node("Conv", inputs, [block], kernel_shape=[_KERNEL] * 2, pads=[1] * 4),
            helper.make_node("Relu", [block], [f"{block}.relu"]),
            helper.make_node("MaxPool", [f"{block}.relu"], [f"{block}.pool"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
        previous = f"{block}.pool"
    nodes += [
        helper.make_node("Flatten", [previous], ["features"]),
        helper.make_node("Gemm", ["features", "dense.weight", "dense.bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(parameters["dense.bias"])])],
        [numpy_helper.from_array(value, name) for name, value in parameters.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True, slots=True)
class _BlockCache:
    """What the backward pass needs of a block's forward pass."""

    columns: Array
    weight: Array
    #: Where the pool's maximum came from and the unit was active, as N x H/2 x 2 x W/2 x 2 x C.
    mask: Array
    input_shape: tuple[int, ...]


def _conv_block(images: Array, weight: Array, bias: Array) -> tuple[Array, _BlockCache]:
    """Return the 3 x 3 convolution, ReLU and 2 x 2 maximum pool of N x C x H x W images."""
    count, _, height, width = images.shape
    columns = _columns(images)
    convolved = columns @ weight.reshape(len(weight), -1).T + bias
    windows = convolved.reshape(count, height // 2, 2, width // 2, 2, len(weight))
    maximum = windows.max(axis=(2, 4), keepdims=True)
    mask = ((windows == maximum) & (windows > 0)).astype(np.float32)
    pooled = np.maximum(maximum, 0).reshape(count, height // 2, width // 2, len(weight))
    return pooled.transpose(0, 3, 1, 2), _BlockCache(columns, weight, mask, images.shape)


def _conv_block_backward(d_pooled: Array, cache: _BlockCache) -> tuple[Array, Array, Array]:
    """Return the gradients for the block's images, weight and bias."""
    count, channels, height, width = cache.input_shape
    spread = d_pooled.transpose(0, 2, 3, 1)[:, :, np.newaxis, :, np.newaxis, :]
    d_convolved: Array = (cache.mask * spread).reshape(-1, len(cache.weight))
    d_weight: Array = (d_convolved.T @ cache.columns).reshape(cache.weight.shape)
    d_bias: Array = d_convolved.sum(axis=0)
    d_columns = d_convolved @ cache.weight.reshape(len(cache.weight), -1)
    d_windows = d_columns.reshape(count, height, width, channels, _KERNEL, _KERNEL)
    d_padded = np.zeros((count, channels, height + 2, width + 2), np.float32)
    for row in range(_KERNEL):
        for column in range(_KERNEL):
            window = d_windows[..., row, column].transpose(0, 3, 1, 2)
            d_padded[:, :, row : row + height, column : column + width] += window
    return d_padded[:, :, 1:-1, 1:-1], d_weight, d_bias


def _columns(images: Array) -> Array:
    """Return each pixel's zero-padded 3 x 3 neighbourhood as a row (im2col)."""
    count, channels, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (_KERNEL, _KERNEL), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(count * height * width, channels * _KERNEL**2)

"""The product: image inference behind an HTTP route and a queue, on one cached ONNX model."""

__version__ = "0.1.0"

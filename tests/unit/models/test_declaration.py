"""`model.toml` as written: the contract's whole table is read, anything else is refused by name."""

from __future__ import annotations

import pytest
from msgspec import to_builtins

from inference.errors import ModelUnavailable
from inference.models.declaration import Declaration, parse_declaration

EVERY_KEY = b"""
task = "classification"
[input]
name = "input"
size = [224, 192]
resize = "shorter-side"
resize_to = 256
interpolation = "bilinear"
layout = "NCHW"
color = "RGB"
scale = 0.00392156862745098
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
pad = 114
[output]
name = "output"
activation = "softmax"
labels = "labels.txt"
top_k = 5
[detection]
decoder = "yolox"
score_threshold = 0.35
iou_threshold = 0.45
max_detections = 100
box = "xyxy"
units = "pixels"
background = 0
boxes = "b"
scores = "s"
classes = "c"
count = "n"
[execution]
threads = 1
parallel = 2
max_batch = 1
"""


def test_every_key_of_the_contract_is_read() -> None:
    declared = parse_declaration(EVERY_KEY)

    assert to_builtins(declared) == {
        "task": "classification",
        "input": {
            "name": "input",
            "size": (224, 192),
            "resize": "shorter-side",
            "resize_to": 256,
            "interpolation": "bilinear",
            "layout": "NCHW",
            "color": "RGB",
            "scale": 0.00392156862745098,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "pad": 114,
        },
        "output": {"name": "output", "activation": "softmax", "labels": "labels.txt", "top_k": 5},
        "detection": {
            "decoder": "yolox",
            "score_threshold": 0.35,
            "iou_threshold": 0.45,
            "max_detections": 100,
            "box": "xyxy",
            "units": "pixels",
            "background": 0,
            "boxes": "b",
            "scores": "s",
            "classes": "c",
            "count": "n",
        },
        "execution": {"threads": 1, "parallel": 2, "max_batch": 1},
    }


def test_every_key_is_optional() -> None:
    assert parse_declaration(b"") == Declaration()


def test_byte_order_mark_of_a_windows_editor_is_no_error() -> None:
    assert parse_declaration(b'\xef\xbb\xbftask = "tensor"').task == "tensor"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"tsak = 'classification'", "tsak: unknown key"),
        (b"[input]\nsise = [1, 1]", r"input\.sise: unknown key"),
        (b"[output]\ntopk = 1", r"output\.topk: unknown key"),
        (b"[detection]\nnms = 1", r"detection\.nms: unknown key"),
        (b"[execution]\ncores = 1", r"execution\.cores: unknown key"),
        (b"[inputs]", "inputs: unknown key"),
        (b"task = 'segmentation'", "task: "),
        (b"input = 1", "input: "),
        (b"[input]\nsize = [224]", r"input\.size"),
        (b"[input]\nsize = [224, 224, 3]", r"input\.size"),
        (b"[input]\nsize = [0, 224]", r"input\.size"),
        (b"[input]\nsize = [224, 99999]", r"input\.size"),
        (b"[input]\nsize = ['224', 224]", r"input\.size"),
        (b"[input]\nsize = [224.0, 224]", r"input\.size"),
        (b"[input]\nscale = nan", r"input\.scale"),
        (b"[input]\nscale = true", r"input\.scale"),
        (b"[input]\nmean = [inf]", r"input\.mean"),
        (b"[input]\nmean = []", r"input\.mean"),
        (b"[input]\nmean = 0.5", r"input\.mean"),
        (b"[input]\nstd = [0.2, 0.0, 0.2]", r"input\.std.*divided"),
        (b"[input]\npad = 256", r"input\.pad"),
        (b"[input]\nresize = 'crop'", r"input\.resize"),
        (b"[output]\ntop_k = 0", r"output\.top_k"),
        (b"[output]\nlabels = ''", r"output\.labels"),
        (b"[detection]\niou_threshold = 1.1", r"detection\.iou_threshold"),
        (b"[execution]\nthreads = true", r"execution\.threads"),
        (b"[input]\nsise = 1\n[output]\ntopk = 1", r"input\.sise: unknown key; output\.topk: unknown key"),
        (b"a." * 3000 + b"b = 1", "a: unknown key"),
        (b"task = ", "is not TOML"),
        (b"task = 'a'\ntask = 'b'", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
    ],
)
def test_wrong_declaration_is_refused_with_file_and_key(content: bytes, problem: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"^model\.toml.*{problem}"):
        parse_declaration(content)

"""A model repository for tests: the digits, and `actor`, a score.py that does what the text it is given tells it.

The actor needs no hook in the product: an item that kills its process is a text that says so.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

_DIGITS = Path(__file__).parents[2] / "samples" / "models" / "digits"

_ACTOR = """
import os
import signal
import threading


def init():
    pass


def run(data):
    act, _, label = data.partition(" ")
    if act == "abort":
        os.abort()
    if act == "end-container":
        os.kill(os.getppid(), signal.SIGKILL)
        os.abort()
    if act == "fill-memory":
        held = [bytearray(b"x") * (16 << 20) for _ in range(64)]  # a gigabyte is past the limit, if there is one
        return [{"label": str(len(held)), "score": 1.0}]
    if act == "hang":
        threading.Event().wait()
    return [{"label": label, "score": 1.0}]
"""


def write_models(folder: Path) -> Path:
    """Write the repository into `folder` and return it."""
    shutil.copytree(_DIGITS, folder / "digits")
    publish_actor(folder, "1", _ACTOR)
    return folder


def publish_actor(folder: Path, version: str, script: str = _ACTOR) -> None:
    """Publish a version of the actor."""
    home = folder / "actor" / version
    home.mkdir(parents=True)
    (home / "score.py").write_text(script)
    data = script.encode()
    files = {"score.py": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}
    (home / "manifest.json").write_text(json.dumps({"files": files}))

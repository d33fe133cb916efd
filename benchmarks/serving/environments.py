"""Owns the peers' environments: a virtual environment for each, made when it is missing.

It refuses to touch the project's own; a peer that cannot be installed is left out and said so.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FOLDER = ROOT / ".cache/peers"

#: BentoML 1.4.40 asks for a certifi that was not published yet when this was written.
REQUIREMENTS = {
    "azureml": "azureml-inference-server-http==1.5.1",
    "litserve": "litserve==0.2.19",
    "bentoml": "bentoml==1.4.39",
}


class PeerMissing(Exception):
    """A peer could not be installed."""


def prepare(name: str) -> Path:
    """Return the folder of a peer's commands, installing it first where need be. Raises PeerMissing.

    Each gets the project's own onnxruntime, numpy and Pillow, so that only the server differs.
    """
    folder = _FOLDER / name
    wanted = [REQUIREMENTS[name], *(f"{package}=={version(package)}" for package in ("onnxruntime", "numpy", "pillow"))]
    stamp = folder / "installed"
    if not (stamp.exists() and stamp.read_text().split() == wanted):
        print(f"Installing {REQUIREMENTS[name]} into {folder.relative_to(ROOT)} …", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *wanted],
        ):
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                raise PeerMissing(f"{REQUIREMENTS[name]}: {ended.stderr.strip().splitlines()[-1]}")
        stamp.write_text(" ".join(wanted))
    return folder / "bin"

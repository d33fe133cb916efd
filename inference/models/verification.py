"""Verification: the files of a version are those that its manifest lists, byte for byte.

It refuses to import what a model runs on: at a start the files are read while other threads import that.
"""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from inference.errors import ModelUnavailable
from inference.models.manifest import (
    MANIFEST_NAME,
    Manifest,
    check_sizes,
    parse_manifest,
    read_manifest_bytes,
    verify_files,
)
from inference.models.repository import ModelVersion, naming


def verified(version: ModelVersion) -> ModelVersion:
    """Return the version with its files' stamps, comparing them with the manifest unless someone has done so already.

    Raises ModelUnavailable with the version, the file and the reason.
    """
    if version.stamps is not None:
        return version
    with naming(version):
        return replace(version, stamps=verify_files(version.path, read_version_manifest(version)))


def read_version_manifest(version: ModelVersion) -> Manifest:
    """Return the manifest that the version was looked up with. Raises ModelUnavailable when it is another one now."""
    data = read_manifest_bytes(version.path)
    if hashlib.sha256(data).hexdigest() != version.manifest_sha256:
        raise ModelUnavailable(f"{MANIFEST_NAME}: it changed since the version was looked up.")
    manifest = parse_manifest(data)
    check_sizes(manifest)
    return manifest

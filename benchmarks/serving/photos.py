"""Owns the photos: real ones, scaled to 500 x 375, as JPEG files, as base64 JSON, and as files of a form."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SIZE = (500, 375)
_QUALITY = 90
_PHOTOS = 4
_BOUNDARY = "photo-6f1d"


@dataclass(frozen=True, slots=True)
class Photos:
    """The same photos in each form that a server takes."""

    raw: tuple[Path, ...]
    json: tuple[Path, ...]
    form: tuple[Path, ...]

    #: The content type of `form`.
    form_type = f"multipart/form-data; boundary={_BOUNDARY}"


def scale_photo(opened: Image.Image, size: tuple[int, int]) -> bytes:
    """Return a photo at a size, as JPEG."""
    data = io.BytesIO()
    opened.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def make_photos(sources: tuple[Path, ...], scratch: Path) -> Photos:
    """Write the first few landscape photos among `sources` into `scratch`."""
    raw: list[Path] = []
    texts: list[Path] = []
    forms: list[Path] = []
    for source in sources:
        with Image.open(source) as opened:
            if opened.width < SIZE[0] or opened.width <= opened.height or len(raw) == _PHOTOS:
                continue
            path = scratch / f"{source.stem}.jpg"
            path.write_bytes(scale_photo(opened, SIZE))
        raw.append(path)
        texts.append(path.with_suffix(".json"))
        texts[-1].write_text(json.dumps({"image_bytes": base64.b64encode(path.read_bytes()).decode()}))
        forms.append(path.with_suffix(".form"))
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        forms[-1].write_bytes(head.encode() + path.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode())
    return Photos(tuple(raw), tuple(texts), tuple(forms))

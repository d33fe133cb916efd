"""An infer reply: the outputs of a run, as JSON, as binary tensors behind it, or as the names of classes.

It refuses to compress what was not asked to be, and everything that is not an infer reply: Triton's asynchronous client
asks for compression always, and can read it here only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from numpy.typing import NDArray

from inference.errors import InferenceFailed, InvalidRequest
from inference.http.compression import MIN_REPLY_BYTES, choose_encoding, compress
from inference.http.messages import Response
from inference.http.oip.classification import name_classes
from inference.http.oip.datatypes import datatype_of, datatype_of_dtype
from inference.http.oip.requests import HEADER_LENGTH, InferRequest, RequestedOutput
from inference.http.oip.tensors import write_binary, write_json
from inference.models.session import ModelSession


def choose_outputs(request: InferRequest, session: ModelSession) -> list[RequestedOutput]:
    """Return the outputs that the reply shall have; all that are tensors when the caller names none.

    Raises InvalidRequest for one that the model does not have.
    """
    declared = {tensor.name: tensor for tensor in session.signature.outputs}
    if not request.outputs:
        tensors = [name for name, tensor in declared.items() if datatype_of(tensor) is not None]
        return [RequestedOutput(name, request.is_binary) for name in tensors]
    names = [output.name for output in request.outputs]
    for name in names:
        if name not in declared:
            raise InvalidRequest(f"unexpected inference output '{name}' for model '{session.version.name}'.")
        if names.count(name) > 1:
            raise InvalidRequest(f"Output {name} is asked for twice.")
        if datatype_of(declared[name]) is None:
            raise InvalidRequest(f"The model's output {name} is not a tensor that this protocol knows.")
    return list(request.outputs)


def build_reply(
    request_id: str,
    session: ModelSession,
    outputs: Mapping[str, NDArray[Any]],
    wanted: Sequence[RequestedOutput],
    accepted_encodings: str,
) -> Response:
    """Return the reply to an infer request. Raises InvalidRequest when an output cannot be given as it is wanted."""
    described: list[dict[str, Any]] = []
    parts: list[bytes | memoryview] = []
    for each in wanted:
        array = outputs[each.name]
        if not hasattr(array, "dtype"):
            raise InferenceFailed(f"The model's output {each.name} is not a tensor.")
        if each.classes is not None:
            array = name_classes(each.name, array, each.classes, _labels(session, each.name))
        one: dict[str, Any] = {
            "name": each.name,
            "datatype": datatype_of_dtype(array.dtype),
            "shape": list(array.shape),
        }
        if each.is_binary:
            part = write_binary(array)
            parts.append(part)
            one["parameters"] = {"binary_data_size": len(part)}
        else:
            one["data"] = write_json(each.name, array)
        described.append(one)
    version = session.version
    reply = {"id": request_id, "model_name": version.name, "model_version": version.version, "outputs": described}
    head = orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
    # The header's presence makes clients look for binary data, so a reply without any must not have it.
    headers = {"content-type": "application/json"}
    if parts:
        headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return _compressed(b"".join((head, *parts)), headers, accepted_encodings)


def _compressed(body: bytes, headers: dict[str, str], accepted_encodings: str) -> Response:
    encoding = choose_encoding(accepted_encodings) if len(body) >= MIN_REPLY_BYTES else None
    if encoding is None:
        return Response(200, body, headers)
    return Response(200, compress(body, encoding), {**headers, "content-encoding": encoding, "vary": "accept-encoding"})


def _labels(session: ModelSession, name: str) -> Sequence[str]:
    return session.spec.output.labels if session.spec.output.name in (None, name) else ()

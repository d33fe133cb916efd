"""A version's own score.py: `init()` once, `run(data)` for each request, in the style of an Azure ML entry script.

It refuses to import what the version's manifest does not vouch for: the verified bytes themselves are compiled. Who
may switch this on, and that it runs with all rights of the service, is the operator's decision, not this module's.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from inference.errors import InferenceFailed, InvalidRequest, InvalidText, ModelUnavailable
from inference.models.declaration import Declaration
from inference.models.manifest import SCRIPT_NAME, Manifest, read_listed_file
from inference.models.output_spec import DEFAULT_TOP_K, OutputSpec
from inference.models.repository import ModelVersion
from inference.models.session import ModelSession
from inference.models.spec import ModelSpec

_log = logging.getLogger("inference.models.script")

MAX_SCRIPT_BYTES = 1 << 20
#: Where an entry script looks for its model:
#: https://learn.microsoft.com/azure/machine-learning/how-to-deploy-online-endpoints
MODEL_FOLDER_VARIABLE = "AZUREML_MODEL_DIR"
#: Azure ML's server gives the request's headers to a run() that has a parameter of this name.
_HEADERS_PARAMETER = "request_headers"
_MAX_REASON_CHARACTERS = 300
_JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS

#: The environment is the process's: while one script starts, no other may find its own folder there.
_starting = threading.Lock()
#: How long a script waits for another that starts. An init() that never returns cannot be ended; the threads that load
#: models must not gather behind it.
START_SECONDS = 60.0


class ScriptSession(ModelSession):
    """A version that its own score.py serves. Who calls `run_script` holds one of `turns`."""

    def __init__(self, version: ModelVersion, manifest: Manifest, spec: ModelSpec, run: Callable[..., Any]) -> None:
        super().__init__(version, manifest, spec, _NoGraph())
        #: Any of the version's files can change what comes out.
        self.sha256 = version.manifest_sha256
        self._run_function = run
        names = [*inspect.signature(run).parameters]
        self._takes_headers = _HEADERS_PARAMETER in names
        self._data_parameter = next(name for name in names if name != _HEADERS_PARAMETER)
        # Scripts are written for Azure ML's server, which gives a process one request at a time if not told otherwise.
        self.turns = threading.BoundedSemaphore(spec.execution.parallel or 1)

    def run_script(self, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
        """Return what `run` returns for a request's body, as JSON.

        Raises InvalidText for a body that is not UTF-8, InferenceFailed when `run` raises or returns no JSON.
        """
        try:
            arguments: dict[str, Any] = {self._data_parameter: body.decode("utf-8-sig")}
        except UnicodeDecodeError:
            raise InvalidText("The body is not UTF-8, which is what run() is given.") from None
        if self._takes_headers:
            arguments[_HEADERS_PARAMETER] = dict(headers or {})
        value = self._call(arguments)
        try:
            return orjson.dumps(value, default=_plain, option=_JSON_OPTIONS)
        except orjson.JSONEncodeError as exc:
            raise InferenceFailed(f"{SCRIPT_NAME}: run() returned what is not JSON: {exc}.") from None

    def run_tensors(
        self,
        tensors: Mapping[str, NDArray[Any]],
        *,
        run_options: Any = None,
        output_names: Sequence[str] = (),
        is_alone: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Refuse tensors. Raises InvalidRequest."""
        del tensors, run_options, output_names, is_alone
        raise InvalidRequest(f"{self.version} is served by its own {SCRIPT_NAME}, which takes no tensors.")

    def run(self, tensor: NDArray[Any], *, run_options: Any = None, is_alone: bool = False) -> dict[str, NDArray[Any]]:
        """Refuse a tensor. Raises InvalidRequest."""
        return self.run_tensors({"": tensor}, run_options=run_options, is_alone=is_alone)

    def warm(self, *, timeout_seconds: float = 0.0) -> bool:
        """Do nothing: `init()` was the script's warm-up, and only its author knows a request that it takes."""
        del timeout_seconds
        return False

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        try:
            return self._run_function(**arguments)
        except BaseException as exc:  # sys.exit() in a script must not end the service
            # The message stays in the log: it may name paths or data of other requests.
            extra = {"action": "script_failed", "model": str(self.version)}
            _log.exception("score.py of %s: run() raised", self.version, extra=extra)
            raise InferenceFailed(f"{SCRIPT_NAME}: run() raised {type(exc).__name__}.") from exc


class _NoGraph:
    """Stands where other versions have onnxruntime's session."""

    def get_inputs(self) -> list[Any]:
        return []

    get_outputs = get_inputs


def load_script(
    version: ModelVersion, manifest: Manifest, declared: Declaration, labels: tuple[str, ...]
) -> ScriptSession:
    """Compile a version's verified score.py and run its `init()`. Raises ModelUnavailable with the reason."""
    source = read_listed_file(version.path, manifest, SCRIPT_NAME, max_bytes=MAX_SCRIPT_BYTES)
    name = _module_name(version)
    with _turn(), _model_folder(version):
        module, run = _start(name, source, version)
    spec = ModelSpec(
        task="script",
        input_name=None,
        image=None,
        output=OutputSpec(None, "none", labels, declared.output.top_k or DEFAULT_TOP_K),
        detection=None,
        execution=declared.execution,
        has_dynamic_batch=False,
    )
    session = ScriptSession(version, manifest, spec, run)
    # The model itself is in the module, as a rule: versions that were replaced must not stay for the process's life.
    weakref.finalize(session, _forget, name, module).atexit = False
    return session


def _forget(name: str, module: ModuleType) -> None:
    """Take the module of a session that is gone out of the way; another load of its version may have its own there."""
    if sys.modules.get(name) is module:
        del sys.modules[name]


def _start(name: str, source: bytes, version: ModelVersion) -> tuple[ModuleType, Callable[..., Any]]:
    module = ModuleType(name)
    module.__file__ = str(version.path / SCRIPT_NAME)
    # Pickles and dataclasses look the module of a class up by its name.
    sys.modules[name] = module
    try:
        with _explaining("it cannot be imported", version):
            # Compiled here, for an import would write a __pycache__ that the manifest does not list.
            exec(compile(source, module.__file__, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 -- opted in
        init, run = (_function(module, wanted) for wanted in ("init", "run"))
        _check_parameters(run)
        with _explaining("init() failed", version):
            init()
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module, run


def _function(module: ModuleType, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise ModelUnavailable(f"{SCRIPT_NAME}: it has no plain function {name}().")
    return function  # type: ignore[no-any-return]


def _check_parameters(run: Callable[..., Any]) -> None:
    parameters = [p for p in inspect.signature(run).parameters.values() if p.name != _HEADERS_PARAMETER]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    required = [p for p in parameters if p.default is inspect.Parameter.empty]
    if not parameters or any(p.kind not in named for p in parameters) or len(required) > 1:
        raise ModelUnavailable(f"{SCRIPT_NAME}: run() must take one argument for the request's data.")
    if required and required[0] is not parameters[0]:
        raise ModelUnavailable(f"{SCRIPT_NAME}: the first argument of run() must be the request's data.")


def _plain(value: Any) -> Any:
    """Return an array that orjson does not read in place (a slice or transpose, of texts, without dimensions)."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _module_name(version: ModelVersion) -> str:
    return re.sub(r"\W", "_", f"score_{version.name}_{version.version}_{version.manifest_sha256[:12]}")


@contextmanager
def _turn() -> Iterator[None]:
    if not _starting.acquire(timeout=START_SECONDS):
        raise ModelUnavailable(
            f"{SCRIPT_NAME}: it cannot start while another version does, whose init() has not returned for "
            f"{START_SECONDS:g} s."
        )
    try:
        yield
    finally:
        _starting.release()


@contextmanager
def _model_folder(version: ModelVersion) -> Iterator[None]:
    before = os.environ.get(MODEL_FOLDER_VARIABLE)
    os.environ[MODEL_FOLDER_VARIABLE] = str(version.path)
    try:
        yield
    finally:
        if before is None:
            del os.environ[MODEL_FOLDER_VARIABLE]
        else:
            os.environ[MODEL_FOLDER_VARIABLE] = before


@contextmanager
def _explaining(what: str, version: ModelVersion) -> Iterator[None]:
    """Turn whatever a script raises, sys.exit() included, into ModelUnavailable, without the folder's name."""
    try:
        yield
    except BaseException as exc:
        extra = {"action": "script_failed", "model": str(version)}
        _log.exception("score.py of %s failed to start", version, extra=extra)
        reason = f"{type(exc).__name__}: {exc}".replace(f"{version.path}/", "")[:_MAX_REASON_CHARACTERS]
        raise ModelUnavailable(f"{SCRIPT_NAME}: {what}: {reason.rstrip('.')}.") from exc

"""Every setting the product reads, as frozen values grouped by who uses them, parsed once from a mapping.

It refuses to read `os.environ` itself and to guess: `Settings.from_env` raises `SettingsError` naming every problem
at once. `declared()` lists the settings; tests hold the docs, `local.settings.sample.json` and Bicep against it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any, Final, Self
from urllib.parse import unquote

from msgspec import Struct, field

from inference.errors import SettingsError

MIB = 1024 * 1024


class Network(Struct, frozen=True):
    """One entry of INFERENCE_FETCH_ALLOW: addresses that the fetcher may reach on one port though not public."""

    addresses: ipaddress.IPv4Network | ipaddress.IPv6Network
    port: int

    def contains(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
        """Tell whether this entry allows `address` on `port`; families never match across."""
        return port == self.port and address.version == self.addresses.version and address in self.addresses

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `10.0.0.0/8:8080`, `127.0.0.1:9000` or `[fd00::/8]:443`."""
        addresses, _, port = text.rpartition(":")
        if not addresses or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is not CIDR:PORT")
        return cls(ipaddress.ip_network(addresses.strip("[]")), int(port))


#: The longest delay of a queue message that the service allows: seven days.
MAX_DELAY_SECONDS: Final = 7 * 24 * 3600

#: Rows of one shard: a part is read and written whole, so this bounds memory.
MAX_MINI_BATCH_SIZE: Final = 10_000

#: The path is printable ASCII but `?`, `#` and backslash.
_URL_PREFIX: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>/[!\"$->@-\[\]-~]*)?"
)


def _climbs(path: str) -> bool:
    """Tell whether some server may read a `.` or `..` segment in `path`."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return any(segment.partition(";")[0] in {".", ".."} for segment in path.replace("\\", "/").split("/"))


class UrlPrefix(Struct, frozen=True):
    """One entry of INFERENCE_CALLBACK_ALLOW: an origin, and the path that all urls allowed there begin with."""

    scheme: str
    host: str
    port: int
    #: Begins with a slash; the part after its last slash is whole, so `/hooks` does not open `/hooks-of-others`.
    path: str

    def contains(self, scheme: str, host: str, port: int, path: str) -> bool:
        """Tell whether a url of these parts is allowed; one whose path climbs (`..`, however encoded) never is."""
        if (scheme, host, port) != (self.scheme, self.host, self.port) or _climbs(path):
            return False
        return path == self.path or path.startswith(f"{self.path.rstrip('/')}/")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `https://host[:port][/path]`; a problem is told without the text, whose path may be a secret."""
        match = _URL_PREFIX.fullmatch(text)
        if match is None or int(match["port"] or 1) > 65535 or _climbs(match["path"] or "/"):
            raise ValueError("an entry is not https://HOST[:PORT][/PATH] without query and user")
        port = int(match["port"] or {"https": 443, "http": 80}[match["scheme"]])
        return cls(match["scheme"], match["host"].lower().strip("[]"), port, match["path"] or "/")


def _text(value: str) -> str:
    return value.strip()


def _flag(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in {"true", "1", "yes", "on"}:
        return True
    if lowered in {"false", "0", "no", "off", ""}:
        return False
    raise ValueError(f"{value!r} is not true or false")


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _networks(value: str) -> tuple[Network, ...]:
    return tuple(Network.parse(entry) for entry in _names(value))


def _url_prefixes(value: str) -> tuple[UrlPrefix, ...]:
    return tuple(UrlPrefix.parse(entry) for entry in _names(value))


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        chosen = value.strip().lower()
        if chosen not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return chosen

    return parse


def _number[N: (int, float)](kind: Callable[[str], N], minimum: N, maximum: float = inf) -> Callable[[str], N]:
    def parse(value: str) -> N:
        try:
            number = kind(value)
        except ValueError:  # in Python's words
            number = None
        if number is None or number != number:  # nan
            raise ValueError(f"{value!r} is not a {'whole number' if kind is int else 'number'}")
        if number < minimum:
            raise ValueError(f"{value!r} is less than {minimum}")
        if number > maximum:
            raise ValueError(f"{value!r} is more than {maximum}")
        return number

    return parse


def _count(minimum: int = 1, maximum: float = inf) -> Callable[[str], int]:
    return _number(int, minimum, maximum)


def _seconds(minimum: float = 0.0) -> Callable[[str], float]:
    return _number(float, minimum, MAX_DELAY_SECONDS)


class _Declaration(Struct, frozen=True):
    parse: Callable[[str], Any]
    doc: str
    is_secret: bool


#: By environment variable, in the order of the groups.
_declarations: Final[dict[str, _Declaration]] = {}


def _setting[T](name: str, parse: Callable[[str], T], default: T, doc: str, *, secret: bool = False) -> T:
    """Declare one setting: a group's field, its environment variable and its line in the docs."""
    _declarations[name] = _Declaration(parse, doc, secret)
    declared: T = field(default=default, name=name)
    return declared


class _Group(Struct, frozen=True):
    """Settings of one concern; msgspec knows a field by its environment variable, too."""

    @classmethod
    def parse(cls, environ: Mapping[str, str], problems: list[str]) -> Self:
        """Read the group; unset and empty variables keep their defaults, bad ones are added to `problems`."""
        values: dict[str, Any] = {}
        for field_name, name in zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True):
            text = environ.get(name, "")
            if not text.strip():
                continue
            try:
                values[field_name] = _declarations[name].parse(text)
            except ValueError as exc:
                problems.append(f"{name}: {exc}")
        return cls(**values)

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self.__rich_repr__()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what may be shown: all but secrets."""
        names = zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True)
        return [(each, getattr(self, each)) for each, name in names if not _declarations[name].is_secret]


class StorageSettings(_Group, frozen=True):
    """How to reach the account: a connection string locally, an identity in Azure (the platform's own names)."""

    connection_string: str = _setting(
        "AzureWebJobsStorage",
        _text,
        "",
        "Connection string of the storage account; `UseDevelopmentStorage=true` is Azurite. Leave it out in Azure.",
        secret=True,
    )
    account_name: str = _setting(
        "AzureWebJobsStorage__accountName", _text, "", "Storage account reached with a managed identity."
    )
    blob_service_uri: str = _setting(
        "AzureWebJobsStorage__blobServiceUri", _text, "", "Blob endpoint, where it is not that of the account name."
    )
    queue_service_uri: str = _setting(
        "AzureWebJobsStorage__queueServiceUri", _text, "", "Queue endpoint, where it is not that of the account name."
    )
    credential: str = _setting(
        "AzureWebJobsStorage__credential", _text, "", "`managedidentity` to use the identity that `clientId` names."
    )
    client_id: str = _setting(
        "AzureWebJobsStorage__clientId", _text, "", "Client id of the user-assigned managed identity."
    )


class ModelSettings(_Group, frozen=True):
    """Which models are served and from where."""

    repository: str = _setting(
        "INFERENCE_MODEL_REPOSITORY",
        _text,
        "samples/models",
        "Folder that holds NAME/VERSION/model.onnx, or `https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]`.",
    )
    cache: str = _setting(
        "INFERENCE_MODEL_CACHE",
        _text,
        "",
        "Folder that keeps versions from a container; by default one in the folder for temporary files.",
    )
    cache_bytes: int = _setting(
        "INFERENCE_MODEL_CACHE_BYTES", _count(), 2048 * MIB, "Bytes that the cache may hold; unused versions go first."
    )
    memory_bytes: int = _setting(
        "INFERENCE_MODEL_MEMORY_BYTES",
        _count(),
        1024 * MIB,
        "Bytes that loaded models may take, reckoned as 3 times their files (4 with a plan for lone requests) and 16 "
        "MiB; unused ones go first.",
    )
    poll_seconds: float = _setting(
        "INFERENCE_MODEL_POLL_SECONDS",
        _seconds(),
        60.0,
        "Between looks at the repository for new versions and `serving.toml`; 0 looks only when told to reload.",
    )
    default_model: str = _setting(
        "INFERENCE_DEFAULT_MODEL", _text, "digits", "Model (`NAME` or `NAME:VERSION`) of requests that name none."
    )
    warm_models: tuple[str, ...] = _setting(
        "INFERENCE_WARM_MODELS",
        _names,
        (),
        "Comma list of further models that are loaded and warmed before `/api/ready` says 200.",
    )
    score_scripts: bool = _setting(
        "INFERENCE_SCORE_SCRIPTS",
        _flag,
        False,
        "`true` serves a version that has a `score.py` by that script, which runs with all rights of the service.",
    )
    failed_load_seconds: float = _setting(
        "INFERENCE_FAILED_LOAD_SECONDS",
        _seconds(),
        10.0,
        "How long a failed load is remembered before the next try; each further failure doubles it, up to 600.",
    )


class EngineSettings(_Group, frozen=True):
    """Where compute runs and how much of it may wait."""

    cores: int = _setting(
        "INFERENCE_CORES", _count(0), 0, "Cores to compute on; 0 reads the container's CPU quota from its cgroup."
    )
    max_waiting: int = _setting(
        "INFERENCE_MAX_WAITING",
        _count(0),
        64,
        "Requests that may wait, for a core or for the image of their url, before the next one gets a 429.",
    )
    tuning: str = _setting(
        "INFERENCE_TUNING",
        _one_of("background", "warm-up", "off"),
        "background",
        "When each model's execution plan is timed: `background` while the service is idle, `warm-up` before it is "
        "ready, `off` never.",
    )
    plan_cache: str = _setting(
        "INFERENCE_PLAN_CACHE",
        _text,
        "",
        "Folder that keeps execution plans; by default one in the folder for temporary files.",
    )
    execution_providers: tuple[str, ...] = _setting(
        "INFERENCE_EXECUTION_PROVIDERS",
        _names,
        (),
        "Comma list of onnxruntime's execution providers by preference; what is missing is warned of, the CPU is last.",
    )


class FetchLimits(_Group, frozen=True):
    """What the fetcher may reach and how much it may take."""

    allow: tuple[Network, ...] = _setting(
        "INFERENCE_FETCH_ALLOW",
        _networks,
        (),
        "Comma list of `CIDR:PORT` that may be fetched from although not public (tests, private origins).",
    )
    allow_http: bool = _setting("INFERENCE_FETCH_HTTP", _flag, False, "`true` allows plain http besides https.")
    timeout_seconds: float = _setting(
        "INFERENCE_FETCH_TIMEOUT_SECONDS", _seconds(0.001), 15.0, "Total time one fetch may take, redirects included."
    )
    connect_timeout_seconds: float = _setting(
        "INFERENCE_FETCH_CONNECT_TIMEOUT_SECONDS", _seconds(0.001), 5.0, "Time one connection may take to open."
    )
    max_redirects: int = _setting("INFERENCE_FETCH_MAX_REDIRECTS", _count(0), 3, "Redirects followed by one fetch.")
    max_per_origin: int = _setting(
        "INFERENCE_FETCH_MAX_PER_ORIGIN", _count(), 8, "Fetches from one origin under way at once, in one process."
    )
    max_image_bytes: int = _setting(
        "INFERENCE_MAX_IMAGE_BYTES", _count(), 20 * MIB, "Bytes of one encoded image, fetched or sent."
    )


class ImageSettings(_Group, frozen=True):
    """How large a decoded image may be, and how its pixels come to the model's size."""

    max_image_pixels: int = _setting(
        "INFERENCE_MAX_IMAGE_PIXELS", _count(), 40_000_000, "Pixels (width x height) of one image."
    )
    max_image_side: int = _setting("INFERENCE_MAX_IMAGE_SIDE", _count(), 16_384, "Pixels of an image's longer side.")
    fast_decode: bool = _setting(
        "INFERENCE_FAST_DECODE",
        _flag,
        False,
        "`true` decodes large JPEGs at a half, quarter or eighth of their size where the model's input is smaller "
        "still; scores move by up to 0.03.",
    )
    exact_resize: bool = _setting(
        "INFERENCE_EXACT_RESIZE",
        _flag,
        False,
        "`true` resizes with Pillow itself, in about six times the time; else some pixels differ from its by one "
        "of 255 levels, few by two.",
    )


class RequestLimits(_Group, frozen=True):
    """What one HTTP request may ask."""

    max_body_bytes: int = _setting(
        "INFERENCE_MAX_BODY_BYTES", _count(), 64 * MIB, "Bytes of one request body; the Functions host allows 100 MiB."
    )
    max_inputs: int = _setting("INFERENCE_MAX_INPUTS", _count(), 32, "Images in the `inputs` of one score request.")
    timeout_seconds: float = _setting(
        "INFERENCE_REQUEST_TIMEOUT_SECONDS",
        _seconds(0.001),
        60.0,
        "Deadline of one request that scores, infers or loads (504 after it); Container Apps ingress gives up at 240.",
    )


class ProtocolSettings(_Group, frozen=True):
    """How the service presents itself in the Open Inference Protocol."""

    server_name: str = _setting(
        "INFERENCE_OIP_SERVER_NAME",
        _text,
        "onnx-functions",
        "Name in the server metadata of `/api/v2`; some clients written for Triton insist on `triton`.",
    )


class BatchSettings(_Group, frozen=True):
    """How a manifest is cut up and how often its items are tried."""

    shard_size: int = _setting(
        "INFERENCE_SHARD_SIZE", _count(1, MAX_MINI_BATCH_SIZE), 100, "Items in one shard (`mini_batch_size`)."
    )
    shard_concurrency: int = _setting(
        "INFERENCE_SHARD_CONCURRENCY", _count(), 8, "Items of one shard that are fetched and scored at once."
    )
    max_attempts: int = _setting(
        "INFERENCE_MAX_ATTEMPTS", _count(), 4, "Attempts at one item, the first included (`max_retries` + 1)."
    )
    retry_base_seconds: float = _setting(
        "INFERENCE_RETRY_BASE_SECONDS", _seconds(), 2.0, "Back-off before the second attempt; it doubles from there."
    )
    retry_cap_seconds: float = _setting(
        "INFERENCE_RETRY_CAP_SECONDS", _seconds(), 300.0, "Longest back-off, and the longest Retry-After honoured."
    )
    item_timeout_seconds: float = _setting(
        "INFERENCE_ITEM_TIMEOUT_SECONDS", _seconds(0.001), 60.0, "Deadline of one attempt at one item."
    )
    finish_poll_seconds: float = _setting(
        "INFERENCE_FINISH_POLL_SECONDS", _seconds(0.05), 2.0, "First delay between looks at whether a batch is done."
    )
    finish_poll_cap_seconds: float = _setting(
        "INFERENCE_FINISH_POLL_CAP_SECONDS", _seconds(0.05), 60.0, "Longest delay between these looks."
    )
    suspect_after_deliveries: int = _setting(
        "INFERENCE_SUSPECT_AFTER_DELIVERIES",
        _count(2),
        3,
        "Deliveries of one shard message, all lost with their worker, after which the shard is split in halves.",
    )
    max_manifest_items: int = _setting("INFERENCE_MAX_MANIFEST_ITEMS", _count(), 20_000_000, "Items in one manifest.")
    prepare_storage: bool = _setting(
        "INFERENCE_PREPARE_STORAGE",
        _flag,
        True,
        "`true` makes queues and containers that are missing when an instance starts; with `false`, where they are "
        "there (infra/bicep makes them), one that serves HTTP only saves 35 MB.",
    )


class CallbackSettings(_Group, frozen=True):
    """Whom the service tells how a batch ended, and how insistently."""

    allow: tuple[UrlPrefix, ...] = _setting(
        "INFERENCE_CALLBACK_ALLOW",
        _url_prefixes,
        (),
        "Comma list of `https://HOST[:PORT][/PATH]` that a `callback_url` may begin with; empty allows none.",
    )
    secret: str = _setting(
        "INFERENCE_CALLBACK_SECRET",
        _text,
        "",
        "Key of the HMAC-SHA256 in the header `x-onnxfn-signature` of callbacks; empty sends no signature.",
        secret=True,
    )
    max_attempts: int = _setting(
        "INFERENCE_CALLBACK_MAX_ATTEMPTS", _count(), 10, "Attempts at one callback, with an item's back-off between."
    )


class Settings(Struct, frozen=True):
    """All groups; only `inference.services` sees them together."""

    storage: StorageSettings = field(default_factory=StorageSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    fetch: FetchLimits = field(default_factory=FetchLimits)
    images: ImageSettings = field(default_factory=ImageSettings)
    requests: RequestLimits = field(default_factory=RequestLimits)
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    callbacks: CallbackSettings = field(default_factory=CallbackSettings)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Parse settings from `environ`; unset and empty variables keep their defaults.

        Raises SettingsError that lists every bad value.
        """
        problems: list[str] = []
        groups: Any = {name: kind.parse(environ, problems) for name, kind in _groups()}
        if problems:
            raise SettingsError(problems)
        return cls(**groups)


class Declared(Struct, frozen=True):
    """One setting as the docs table shows it."""

    name: str
    default: str
    doc: str


def declared() -> Iterator[Declared]:
    """Yield every setting, in the order of the groups."""
    for _, kind in _groups():
        for name, default in zip(kind.__struct_encode_fields__, kind.__struct_defaults__, strict=True):
            yield Declared(name, _shown(default), _declarations[name].doc)


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Return the INFERENCE_ variables that no setting reads: most likely misspelt, so worth a warning."""
    known = {setting.name for setting in declared()}
    return sorted(name for name in environ if name.startswith("INFERENCE_") and name not in known)


def _groups() -> Iterator[tuple[str, type[_Group]]]:
    kinds: Any = (default.factory for default in Settings.__struct_defaults__)  # each is declared with its class
    yield from zip(Settings.__struct_fields__, kinds, strict=True)


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default)

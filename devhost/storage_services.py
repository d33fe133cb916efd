"""Owns the building of the parts that talk to Storage: data bindings and listeners. Importing it takes a while."""

from collections.abc import Iterable

from msgspec import Struct

from devhost.data_bindings import DataBindings
from devhost.errors import ConfigurationError
from devhost.functions import Function
from devhost.invoker import Invoker
from devhost.options import HostOptions
from devhost.queue_messages import QueueWatcher
from devhost.queue_processor import LEASE_SECONDS
from devhost.storage_clients import DEFAULT_CONNECTION, StorageClients
from devhost.triggers import Triggers


class StorageServices(Struct, frozen=True):
    """What `build_storage_services` built."""

    data_bindings: DataBindings
    triggers: Triggers


def build_storage_services(functions: Iterable[Function], options: HostOptions, invoker: Invoker) -> StorageServices:
    """Build data bindings and triggers. Raises ConfigurationError for schedules, names or connections."""
    functions = list(functions)
    _check_host_storage(functions, options)
    clients = StorageClients(options.settings)
    watcher = QueueWatcher()
    queues = options.host_json.queues
    data_bindings = DataBindings(clients, is_base64=queues.is_base64, enqueued=watcher.notify)
    lease_seconds = options.integer_setting("DEVHOST_LEASE_SECONDS", LEASE_SECONDS)
    triggers = Triggers(functions, clients, watcher, invoker, queues, lease_seconds)
    return StorageServices(data_bindings, triggers)


def _check_host_storage(functions: Iterable[Function], options: HostOptions) -> None:
    """Refuse triggers that keep state in the host's own storage without it, as `func start` does."""
    needs_storage = {"queueTrigger", "timerTrigger"}
    if not any(function.trigger.type in needs_storage for function in functions):
        return
    names = ("", "__accountName", "__blobServiceUri", "__queueServiceUri")
    if not any(options.settings.get(f"{DEFAULT_CONNECTION}{name}") for name in names):
        raise ConfigurationError(
            f"Missing value for {DEFAULT_CONNECTION} in local.settings.json. "
            "This is required for all triggers other than httptrigger and warmuptrigger."
        )

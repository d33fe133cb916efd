"""The exceptions of the local host, and nothing that reacts to them."""


class HostError(Exception):
    """Base of everything the host raises on purpose; its text is meant for a person."""


class ConfigurationError(HostError):
    """host.json, local.settings.json or a function's bindings say something that the host cannot run."""


class FunctionTimedOut(HostError):
    """An invocation outlived host.json's functionTimeout; its worker process was ended, as the real host does."""


class WorkerLost(HostError):
    """The worker process died, or its channel closed, while it ran an invocation."""


class HostNotRunning(HostError):
    """No worker could load the function app, so nothing can be invoked."""

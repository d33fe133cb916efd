"""Owns which signals end the host; it refuses to know what becomes of them."""

import signal


def ending_signals() -> list[signal.Signals]:
    """Return them: SIGHUP, of a terminal that was closed, is one unless `nohup` had it ignored."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if is_ignored else [signal.SIGHUP])]

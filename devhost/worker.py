"""The worker process, `python -m devhost.worker CHANNEL_FD APP_DIR`; only the host starts it.

It refuses to import anything while Python looks for garbage: imports make none, and looking takes a tenth of the time.
"""

import gc


def main() -> None:
    """Load the app and serve it; see `devhost.worker_app`."""
    gc.disable()
    from devhost.worker_app import run

    run()


if __name__ == "__main__":
    main()

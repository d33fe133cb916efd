"""The script that cold start and memory are held against: import, load, score one photo, print, wait to be ended.

Modules that are named after the photo are imported first: what a server of theirs cannot do without.
"""

import sys
import threading
from importlib import import_module
from pathlib import Path

from pipeline import Pipeline

if __name__ == "__main__":
    for module in sys.argv[2:]:
        import_module(module)
    print(Pipeline().score(Path(sys.argv[1]).read_bytes()), flush=True)
    threading.Event().wait()

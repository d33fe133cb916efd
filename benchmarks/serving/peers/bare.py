"""The script that cold start and memory are held against: import, load, score one photo, print, wait to be ended."""

import sys
import threading
from pathlib import Path

from pipeline import Pipeline

if __name__ == "__main__":
    print(Pipeline().score(Path(sys.argv[1]).read_bytes()), flush=True)
    threading.Event().wait()

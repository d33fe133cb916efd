"""The whole main job, once, on real parts: score a scan, a manifest from the queue, a dead letter, its replay.

It starts everything on free ports with data in a temporary folder, checks each step and stops what it started; it
refuses to touch a service or storage that is already running. Exit code 0 only when every step held.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient
from azure.storage.queue import QueueClient, TextBase64EncodePolicy
from rich.console import Console
from rich.table import Table

from devhost.azurite import Azurite, find_executable

ROOT = Path(__file__).resolve().parents[1]
SCANS = ROOT / "samples" / "images" / "digits"
ONNXFN = Path(sys.executable).with_name("onnxfn")

BATCH_ID = "demo"
MISSING = "digit-8-b.jpg"
STEP_SECONDS = 120

console = Console(highlight=False, soft_wrap=True)


class StepFailed(Exception):
    """Something that the demo shows did not happen."""


def main() -> int:
    """Run every step and return the exit code."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="onnx-functions-demo-") as folder, ExitStack() as running:
        log = Path(folder) / "host.log"
        try:
            run(Path(folder), log, running)
        except StepFailed as failure:
            running.close()
            console.print(f"\n[bold red]The demo failed:[/] {failure}")
            console.print(log.read_text()[-4000:] if log.exists() else "", markup=False)
            return 1
        except KeyboardInterrupt:
            with suppress(StepFailed):  # the terminal has interrupted the host as well
                running.close()
            console.print("\nInterrupted; what was started is stopped.")
            return 128 + signal.SIGINT
        step("Stop the host (it drains), then storage")
        running.close()
    console.print(f"\n[bold green]All of it worked[/], in {time.monotonic() - started:.0f} s.")
    return 0


def run(folder: Path, log: Path, running: ExitStack) -> None:
    """Start storage, an image origin and the service; then the main job, step by step."""
    step("Start storage (Azurite), a web server with scans of digits, and the service on the local host")
    storage = running.enter_context(Azurite(folder / "azurite", executable=find_executable([ROOT]))).connection_string
    origin = running.enter_context(serve_scans())
    url = running.enter_context(serve_app(storage, origin, log))
    show("storage", storage.partition("BlobEndpoint=")[2].partition(";")[0])
    show("images", origin.url)
    show("service", url)

    score_scan(url)
    drop_manifest(storage, origin.url)
    first_rows = read_first_results(storage)
    show_dead_letter(url)
    replay(url, origin)
    check_replayed(storage, url, first_rows)


def score_scan(url: str) -> None:
    """POST one scan and show the reply."""
    step("Score one scan over HTTP")
    scan = "samples/images/digits/digit-7-a.png"
    console.print(f"  curl -H content-type:image/png --data-binary @{scan} '{url}/api/score?top_k=3'", markup=False)
    headers = {"content-type": "image/png"}
    body = (ROOT / scan).read_bytes()
    with urlopen(Request(f"{url}/api/score?top_k=3", body, headers), timeout=STEP_SECONDS) as reply:  # noqa: S310
        answer = json.load(reply)
    console.print_json(data=answer)
    check(answer["predictions"][0]["label"] == "7", "the scan of a 7 should be read as 7")


def drop_manifest(storage: str, origin: str) -> None:
    """Send the manifest as any Storage client would: base64 JSON on the queue, nothing of this project involved."""
    step(f"Drop a manifest on the queue batch-manifests; the web server has lost {MISSING}")
    urls = [f"{origin}/{scan.name}" for scan in sorted(SCANS.iterdir())]
    manifest = json.dumps({"batch_id": BATCH_ID, "images": urls})
    with QueueClient.from_connection_string(
        storage, "batch-manifests", message_encode_policy=TextBase64EncodePolicy()
    ) as queue:
        with suppress(ResourceExistsError):
            queue.create_queue()  # in Azure the deployment has made it
        queue.send_message(manifest, time_to_live=-1)
    show("manifest", f"{manifest[:100]}... ({len(urls)} images)")


def read_first_results(storage: str) -> dict[str, bytes]:
    """Wait for summary.json, show the rows and return them as they are in results.jsonl, by image name."""
    step(f"Wait for results/{BATCH_ID}/summary.json: it says that results.jsonl is complete")
    summary = json.loads(wait_for(f"{BATCH_ID}/summary.json", partial(read_result, storage, "summary.json")))
    rows = read_rows(storage)
    show_rows(rows)
    show("summary", json.dumps(summary))
    check(len(rows) == len(list(SCANS.iterdir())), "every image of the manifest should have one row")
    check(all(row_reads(rows[name]) for name in rows if name != MISSING), "every scan but the lost one should be read")
    check(json.loads(rows[MISSING])["error"]["code"] == "image_not_found", "the lost scan should fail, and say why")
    return rows


def show_dead_letter(url: str) -> None:
    """List the dead letters by the command line program."""
    step("The failed image is a dead letter that says why")
    records = onnxfn(url, "deadletter", "list", "--batch-id", BATCH_ID)["deadletters"]
    console.print_json(data=records[0] if records else None)
    check([record["code"] for record in records] == ["image_not_found"], "there should be one dead letter")


def replay(url: str, origin: Origin) -> None:
    """Bring the scan back and replay the dead letter."""
    step(f"The web server has {MISSING} again; replay the dead letter")
    origin.missing.clear()
    reply = onnxfn(url, "deadletter", "replay", "--batch-id", BATCH_ID)
    show("reply", json.dumps(reply))
    check(reply["replayed"] == 1, "one image should be tried again")


def check_replayed(storage: str, url: str, first_rows: dict[str, bytes]) -> None:
    """Wait until the results are written anew and hold them against the first ones."""
    step("Wait until the results are written anew")

    def read_status() -> dict[str, Any] | None:
        status = onnxfn(url, "batch", "status", BATCH_ID)
        return status if status["state"] != "running" else None

    status = wait_for("the end of the replay", read_status)
    rows = read_rows(storage)
    show_rows({MISSING: rows[MISSING]})
    show("status", json.dumps({name: status[name] for name in ("state", "total", "succeeded", "failed", "pending")}))
    check(row_reads(rows[MISSING]), "the scan that came back should be read")
    untouched = [name for name in rows if name != MISSING and rows[name] == first_rows[name]]
    check(len(untouched) == len(rows) - 1 == len(first_rows) - 1, "the other rows should be the same bytes as before")
    show("unchanged", f"{len(untouched)} rows that had succeeded are the same bytes as before")
    check(status["failed"] == 0 and status["state"] == "succeeded", "the batch should have succeeded whole")
    left = onnxfn(url, "deadletter", "list", "--batch-id", BATCH_ID)["deadletters"]
    check(not left, "no dead letter should be left")


class Origin(ThreadingHTTPServer):
    """A web server with the scans; those in `missing` it answers with 404."""

    daemon_threads = True

    def __init__(self) -> None:
        self.missing = {MISSING}
        super().__init__(("127.0.0.1", 0), partial(_OriginHandler, directory=str(SCANS)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _OriginHandler(SimpleHTTPRequestHandler):
    server: Origin

    def send_head(self) -> Any:
        if self.path.removeprefix("/") in self.server.missing:
            self.send_error(404)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
        """Keep the demo's output readable."""


@contextmanager
def serve_scans() -> Iterator[Origin]:
    """Serve the scans on a free port."""
    with Origin() as origin:
        thread = Thread(target=origin.serve_forever, name="origin")
        thread.start()
        try:
            yield origin
        finally:
            origin.shutdown()
            thread.join()


@contextmanager
def serve_app(storage: str, origin: Origin, log: Path) -> Iterator[str]:
    """Run `onnxfn start` on a free port until it is ready; stop it at the end. Raises StepFailed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INFERENCE_")} | {
        "AzureWebJobsStorage": storage,
        "INFERENCE_MODEL_REPOSITORY": str(ROOT / "samples" / "models"),
        "INFERENCE_FETCH_ALLOW": f"127.0.0.1/32:{origin.server_port}",
        "INFERENCE_FETCH_HTTP": "true",
        "INFERENCE_FINISH_POLL_SECONDS": "0.5",
    }
    with log.open("wb") as output:
        command = [str(ONNXFN), "start", "--port", "0"]
        host = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield wait_for("the service", partial(find_ready_url, host, log))
    finally:
        host.send_signal(signal.SIGTERM)
        code = host.wait()
    check(code == 0, f"the host should drain and end with 0, not {code}")


def find_ready_url(host: subprocess.Popen[bytes], log: Path) -> str | None:
    """Return the url that the host's banner names once /api/ready says 200."""
    check(host.poll() is None, "the host ended at its start")
    listening = re.search(r"http://localhost:\d+", log.read_text())
    if listening is None:
        return None
    try:
        with urlopen(f"{listening[0]}/api/ready", timeout=STEP_SECONDS):  # noqa: S310 -- a constant scheme
            return listening[0]
    except OSError:
        return None


def onnxfn(url: str, *arguments: str) -> dict[str, Any]:
    """Run the command line program and return the JSON it prints. Raises StepFailed."""
    command = [str(ONNXFN), *arguments, "--json", "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STEP_SECONDS)
    check(done.returncode == 0, f"onnxfn {' '.join(arguments)}: {done.stderr}")
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def read_result(storage: str, name: str) -> bytes | None:
    """Return the blob of the batch in the container results, or None when there is none yet."""
    with BlobClient.from_connection_string(storage, "results", f"{BATCH_ID}/{name}") as blob:
        try:
            return blob.download_blob().readall()
        except ResourceNotFoundError:
            return None


def read_rows(storage: str) -> dict[str, bytes]:
    """Return the rows of results.jsonl by image name, in the manifest's order."""
    lines = (read_result(storage, "results.jsonl") or b"").splitlines()
    return {json.loads(line)["url"].rpartition("/")[2]: line for line in lines}


def row_reads(line: bytes) -> bool:
    """Tell whether the model read the digit that the file's name says."""
    row = json.loads(line)
    digit = row["url"].rpartition("digit-")[2][0]
    return bool(row["status"] == "succeeded" and row["predictions"][0]["label"] == digit)


def wait_for[T](what: str, look: Callable[[], T | None]) -> T:
    """Look until there is something, a fifth of a second apart. Raises StepFailed after a minute."""
    deadline = time.monotonic() + STEP_SECONDS
    while (found := look()) is None:
        check(time.monotonic() < deadline, f"{what} did not come within {STEP_SECONDS} s")
        time.sleep(0.2)
    return found


def check(holds: bool, sentence: str) -> None:
    """Raise StepFailed with `sentence` unless it holds."""
    if not holds:
        raise StepFailed(sentence)


def step(title: str) -> None:
    """Begin a step."""
    console.print(f"\n[bold]> {title}[/]")


def show(name: str, value: str) -> None:
    """Show one fact of a step."""
    console.print(f"  {name:<10}{value}", markup=False)


def show_rows(rows: dict[str, bytes]) -> None:
    """Show rows of results.jsonl as a table."""
    table = Table("index", "image", "status", "reads", "score", "attempts", box=None, padding=(0, 2))
    for name, line in rows.items():
        row = json.loads(line)
        best = (row.get("predictions") or [{"label": row.get("error", {}).get("code"), "score": 0.0}])[0]
        table.add_row(
            str(row["index"]), name, row["status"], best["label"], f"{best['score']:.3f}", str(row["attempts"])
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())

"""A headless Chromium driven over the DevTools protocol, as far as the tests need it.

It refuses to reach anything but loopback: every other host name resolves to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

#: Long enough for two shared cores; no test waits for it unless something is wrong.
DEADLINE_SECONDS = 120.0

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """Return the program's path, or None when there is none on this machine."""
    return next((path for path in map(shutil.which, _NAMES) if path), None)


class PageError(Exception):
    """A script that the test asked the page to evaluate raised."""


@dataclass
class Tab:
    """One page: commands go out with a number, replies and events come in on one reader."""

    socket: aiohttp.ClientWebSocketResponse
    #: What the page complained about: uncaught exceptions, console errors, failed loads, policy violations.
    complaints: list[str] = field(default_factory=list)
    _replies: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _last: int = 0

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._last += 1
        reply = self._replies[self._last] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": self._last, "method": method, "params": parameters})
        async with asyncio.timeout(DEADLINE_SECONDS):
            result: dict[str, Any] = await reply
        return result

    async def read(self) -> None:
        """Take in replies and events until the browser ends."""
        async for message in self.socket:
            event = json.loads(message.data)
            if "id" in event:
                self._settle(event)
            elif complaint := _complaint(event):
                self.complaints.append(complaint)

    def _settle(self, event: dict[str, Any]) -> None:
        reply = self._replies.pop(event["id"])
        if reply.done():
            return
        if "error" in event:
            reply.set_exception(PageError(event["error"]["message"]))
        else:
            reply.set_result(event["result"])

    async def open(self, url: str) -> None:
        """Go to `url` and wait until its scripts have run."""
        result = await self.command("Page.navigate", url=url)
        if "errorText" in result:
            raise PageError(f"{url}: {result['errorText']}")
        await self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited. Raises PageError."""
        result = await self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise PageError(result["exceptionDetails"].get("exception", {}).get("description", script))
        return result["result"].get("value")

    async def wait_for(self, condition: str) -> None:
        """Return once an expression is truthy in the page. Raises TimeoutError."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                with contextlib.suppress(PageError):  # the page may be on its way to another one
                    if await self.evaluate(f"Boolean({condition})"):
                        return
                    await self.evaluate("new Promise((resolve) => setTimeout(resolve, 20))")

    async def text(self, selector: str) -> str:
        """Return the text that a reader sees in the first element of `selector`."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    async def click(self, selector: str) -> None:
        """Click the first element of `selector`."""
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def fill(self, selector: str, value: str) -> None:
        """Type into a field, with the events that typing brings."""
        await self.evaluate(
            f"""(() => {{
              const field = document.querySelector({json.dumps(selector)});
              field.focus();
              field.value = {json.dumps(value)};
              for (const name of ["input", "change"]) field.dispatchEvent(new Event(name, {{ bubbles: true }}));
            }})()"""
        )

    async def choose_file(self, selector: str, path: Path) -> None:
        """Pick a file in a file field."""
        document = await self.command("DOM.getDocument")
        node = await self.command("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        await self.command("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path)])

    async def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Set the window's size in pixels and the preferred colour scheme."""
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.command("Emulation.setEmulatedMedia", features=[feature])


def _complaint(event: dict[str, Any]) -> str | None:
    parameters = event.get("params", {})
    match event.get("method"):
        case "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            return str(details.get("exception", {}).get("description", details.get("text")))
        case "Runtime.consoleAPICalled" if parameters["type"] in {"error", "warning"}:
            return " ".join(str(one.get("value", one.get("description"))) for one in parameters["args"])
        case "Log.entryAdded" if parameters["entry"]["level"] in {"error", "warning"}:
            entry = parameters["entry"]
            return f"{entry['text']} {entry.get('url', '')}".strip()
        case "Audits.issueAdded":
            issue = parameters["issue"]
            return str(issue["code"]) if issue["code"] == "ContentSecurityPolicyIssue" else None
    return None


@contextlib.asynccontextmanager
async def open_tab(program: str, profile: Path) -> AsyncIterator[Tab]:
    """Start a browser with an empty profile and yield its one tab; end the browser afterwards."""
    process = await asyncio.create_subprocess_exec(
        program,
        *_SWITCHES,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    drain: asyncio.Task[None] | None = None
    try:
        origin = await _debugging_origin(process.stderr)
        drain = asyncio.create_task(_drain(process.stderr))
        async with aiohttp.ClientSession() as session:
            socket_url = await _page_socket(session, origin)
            async with session.ws_connect(socket_url, max_msg_size=0) as socket:
                tab = Tab(socket)
                reader = asyncio.create_task(tab.read())
                for domain in ("Page", "Runtime", "Log", "DOM", "Audits"):
                    await tab.command(f"{domain}.enable")
                yield tab
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if drain is not None:
            await drain


async def _debugging_origin(stderr: asyncio.StreamReader) -> str:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while line := (await stderr.readline()).decode(errors="replace"):
            if "DevTools listening on ws://" in line:
                return "http://" + line.split("ws://", 1)[1].split("/", 1)[0]
    raise PageError("the browser ended before it listened")


async def _drain(stream: asyncio.StreamReader) -> None:
    """A pipe that no one reads would fill up and stop the browser."""
    while await stream.read(65536):
        pass


async def _page_socket(session: aiohttp.ClientSession, origin: str) -> str:
    async with session.get(f"{origin}/json/list") as reply:
        targets = await reply.json()
    return str(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"))

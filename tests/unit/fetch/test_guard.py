"""The guard as a whole, with a connect log as evidence: a listener on every loopback address that must stay unvisited.

Each fetcher here is allowed 127.9.9.9 on the listener's port, so that neither the port rule nor `INFERENCE_FETCH_ALLOW`
being empty can be what saves it, and every test ends with a visit there, so that the log is known to work.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.errors import OriginFailed, OriginUnavailable, UrlNotAllowed
from inference.fetch import Fetcher
from inference.fetch.ranges import DENIED, IPNetwork
from tests.origins import Listener, Origin, canary
from tests.unit.fetch.hostile import LOOPBACK_SPELLINGS, SPECIAL_ADDRESSES, hostile_urls
from tests.unit.fetch.zone import Zone, exception, fetching, needs_ipv6

ALLOWED = "127.9.9.9"


@asynccontextmanager
async def watched(zone: Zone | None = None, host: str = "0.0.0.0") -> AsyncIterator[tuple[Fetcher, Listener]]:  # noqa: S104
    """Open a canary and a fetcher that may go to `ALLOWED` on its port; hold the canary to no visit but our own."""
    async with canary(host) as listener:
        allow = exception(ALLOWED, listener.port)
        own_hosts = ["app.azurewebsites.example"]
        async with fetching(allow, zone=zone, own_hosts=own_hosts, connect_timeout_seconds=1) as fetcher:
            yield fetcher, listener
            assert listener.connections == 0
            if host == "0.0.0.0":  # noqa: S104
                with pytest.raises(OriginUnavailable):
                    await fetcher.fetch(f"http://{ALLOWED}:{listener.port}/")
                assert listener.connections >= 1


async def test_no_hostile_url_leads_to_a_connection_or_a_look_up() -> None:
    zone = Zone()
    async with watched(zone) as (fetcher, listener):
        for url in hostile_urls(listener.port):
            with pytest.raises(UrlNotAllowed):
                await fetcher.fetch(url)

    assert not zone.asked


@needs_ipv6
@pytest.mark.parametrize("spelling", [spelling for spelling in LOOPBACK_SPELLINGS if "[" in spelling])
async def test_no_spelling_of_the_ipv6_loopback_leads_to_a_connection(spelling: str) -> None:
    async with watched(host="::1") as (fetcher, listener):
        with pytest.raises(UrlNotAllowed):
            await fetcher.fetch(f"http://{spelling}:{listener.port}/")


@pytest.mark.parametrize("position", [0, 1, 16, 17, 100])
async def test_one_denied_answer_denies_the_name_wherever_it_stands(position: int) -> None:
    zone = Zone()
    async with watched(zone) as (fetcher, listener):
        for address in SPECIAL_ADDRESSES:
            answer = [ALLOWED] * position + [address] + [ALLOWED]
            zone.answer("mixed.example", answer)
            with pytest.raises(UrlNotAllowed) as refusal:
                await fetcher.fetch(f"http://mixed.example:{listener.port}/")
            assert address not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_with_a_denied_address_is_denied_on_the_standard_port_too(scheme: str) -> None:
    zone = Zone()
    async with watched(zone) as (fetcher, _):
        for address in SPECIAL_ADDRESSES:
            zone.answer("private.example", ["8.8.8.8", address])
            with pytest.raises(UrlNotAllowed):
                await fetcher.fetch(f"{scheme}://private.example/")


async def test_a_public_answer_is_denied_on_a_port_that_only_an_exception_opens() -> None:
    zone = Zone(public_example=["8.8.8.8"])
    async with watched(zone) as (fetcher, listener):
        with pytest.raises(UrlNotAllowed):
            await fetcher.fetch(f"https://public.example:{listener.port}/")

    assert zone.asked["public.example"] == 1


@pytest.mark.parametrize("answer", [["8.8.8.8"] * 257, ["not an address"], ["8.8.8.8", ""], ["example.com"]])
async def test_an_answer_that_is_huge_or_no_address_is_denied(answer: list[str]) -> None:
    async with watched(Zone(odd_example=answer)) as (fetcher, _):
        with pytest.raises(UrlNotAllowed):
            await fetcher.fetch("https://odd.example/")


async def test_a_name_is_looked_up_once_so_that_a_second_answer_cannot_rebind_it() -> None:
    zone = Zone()
    async with Origin() as origin, watched(zone) as (_, listener), fetching(origin.allow, zone=zone) as fetcher:
        zone.answer("rebinding.example", [origin.host], ["127.0.0.2"])
        origin.serve("/a", b"body")
        url = origin.url("/a", host="rebinding.example")

        assert await fetcher.fetch(url) == b"body"
        assert zone.asked["rebinding.example"] == 1
        with pytest.raises(UrlNotAllowed):
            await fetcher.fetch(url)  # not from the pool either, though a connection is waiting there
        assert origin.hits["/a"] == 1
        assert listener.connections == 0


async def test_a_redirect_to_a_hostile_url_leads_to_no_connection() -> None:
    zone = Zone()
    async with Origin() as origin, canary() as listener:
        allow = (origin.allow, exception(ALLOWED, listener.port))
        async with fetching(*allow, zone=zone, own_hosts=["app.azurewebsites.example"]) as fetcher:
            for number, url in enumerate(hostile_urls(listener.port)):
                if not url.isprintable() or not url.isascii() or url != url.strip():
                    continue  # such a header cannot be sent; test_url has them
                start = origin.redirect(f"/{number}", url)
                with pytest.raises((UrlNotAllowed, OriginFailed)):
                    await fetcher.fetch(start)
        assert listener.connections == 0
        assert origin.hits["/0"] == 1


async def test_a_redirect_to_a_name_with_a_private_address_leads_to_no_connection() -> None:
    zone = Zone(start_example=["127.0.0.1"], private_example=["127.0.0.1"])
    async with Origin() as origin, watched(zone) as (_, listener):
        allow = (origin.allow, exception(ALLOWED, listener.port))
        async with fetching(*allow, zone=zone) as fetcher:
            origin.redirect("/a", f"http://private.example:{listener.port}/latest/meta-data")
            with pytest.raises(UrlNotAllowed):
                await fetcher.fetch(origin.url("/a", host="start.example"))

    assert zone.asked == {"start.example": 1, "private.example": 1}


@pytest.mark.parametrize(
    "variable", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
)
async def test_no_proxy_of_the_environment_is_used(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Origin() as origin, canary() as proxy, fetching(origin.allow) as fetcher:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")

        assert await fetcher.fetch(origin.serve("/a", b"body")) == b"body"
        assert proxy.connections == 0


async def test_a_refusal_is_logged_once_without_query_or_user_information(caplog: pytest.LogCaptureFixture) -> None:
    async with fetching() as fetcher:
        with caplog.at_level(logging.WARNING), pytest.raises(UrlNotAllowed):
            await fetcher.fetch("https://user:canary-password@example.com/a.png?sig=canary-signature")

    (record,) = caplog.records
    assert record.__dict__["action"] == "fetch_refused"
    assert record.__dict__["url"] == "https://example.com/a.png?…"
    # Consoles, and the logs of Azure Functions, show the message alone.
    assert record.getMessage().startswith("fetch refused: https://example.com/a.png?…: ")
    assert record.getMessage().endswith(record.__dict__["reason"])
    assert "canary" not in repr(record.__dict__)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    network=st.sampled_from(DENIED),
    pick=st.integers(0, 2**128),
    url=st.sampled_from(["https://generated.example/a", "http://generated.example/a"]),
)
async def test_no_address_of_a_denied_range_is_ever_dialled(
    network: IPNetwork, pick: int, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[object] = []
    monkeypatch.setattr("inference.fetch.connector._open_socket", dialled.append)
    address = str(network[pick % network.num_addresses])

    async with fetching(zone=Zone(generated_example=["1.1.1.1", address])) as fetcher:
        with pytest.raises(UrlNotAllowed):
            await fetcher.fetch(url)

    assert not dialled


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
async def test_a_public_name_is_dialled_on_its_own_port(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[tuple[str, int]] = []

    def refuse(info: tuple[object, object, object, object, tuple[str, int]]) -> None:
        dialled.append(info[4][:2])
        raise OSError

    monkeypatch.setattr("inference.fetch.connector._open_socket", refuse)
    async with fetching(zone=Zone(public_example=[address])) as fetcher:
        for url in ("https://public.example/a", "https://public.example:443/a", "http://public.example/a"):
            with pytest.raises(OriginUnavailable):
                await fetcher.fetch(url)

    host = address.removeprefix("::ffff:")
    assert dialled == [(host, 443), (host, 443), (host, 80)]


PERMITTED_PORT = 8080

type Sabotage = Callable[[pytest.MonkeyPatch], None]


def misdirect_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the connector's resolver return an address that nobody vetted."""

    async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr("inference.fetch.connector._PinnedResolver.resolve", resolve)


def misread_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the kernel say that the connection leads elsewhere, as a rewriting network stack would.

    Elsewhere is a permitted place, just not one that this request was vetted for.
    """

    def getpeername(self: object, name: str, default: object = None) -> object:
        return ("127.0.0.4", PERMITTED_PORT) if name == "peername" else default

    monkeypatch.setattr("asyncio.selector_events._SelectorSocketTransport.get_extra_info", getpeername)


@pytest.mark.parametrize("sabotage", [misdirect_resolver, misread_peer])
async def test_each_later_gate_holds_when_an_earlier_one_fails(
    sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Origin(host="127.0.0.3") as origin:
        origin.serve("/a", b"body")
        zone = Zone(origin_example=[origin.host])
        async with fetching(origin.allow, exception("127.0.0.4", PERMITTED_PORT), zone=zone) as fetcher:
            sabotage(monkeypatch)
            with pytest.raises(UrlNotAllowed):
                await fetcher.fetch(origin.url("/a", host="origin.example"))
            monkeypatch.undo()

    assert not origin.hits

"""TLS: the certificate must be for the name in the url, whatever address the name led to."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inference.errors import OriginBroken, UrlNotAllowed
from tests.origins import Origin, canary
from tests.unit.fetch.zone import Zone, fetching

NOW = datetime.now(UTC)
ZONE = {"origin_example": ["127.0.0.1"], "other_example": ["127.0.0.1"]}


def make_certificate(folder: Path, name: str, *, expires: datetime) -> tuple[Path, ssl.SSLContext]:
    """Write a self-signed certificate for `name`; return its path and a server's context that presents it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(expires - timedelta(days=30))
        .not_valid_after(expires)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return path, server


async def test_a_trusted_certificate_of_the_urls_own_name_is_taken(tmp_path: Path) -> None:
    path, server = make_certificate(tmp_path, "origin.example", expires=NOW + timedelta(days=1))
    trust = ssl.create_default_context(cafile=str(path))
    async with Origin(tls=server) as origin, fetching(origin.allow, zone=Zone(**ZONE), tls=trust) as fetcher:
        origin.serve("/a", b"body")

        assert await fetcher.fetch(origin.url("/a", host="origin.example")) == b"body"
        assert await fetcher.fetch(origin.url("/a", host="origin.example")) == b"body"

    assert len({request.peer for request in origin.requests}) == 1
    assert origin.requests[0].headers["Host"] == f"origin.example:{origin.port}"


@pytest.mark.parametrize(
    ("host", "expires_days", "is_trusted"),
    [
        pytest.param("other.example", 1, True, id="another name"),
        pytest.param("127.0.0.1", 1, True, id="an address"),
        pytest.param("origin.example", -1, True, id="expired"),
        pytest.param("origin.example", 1, False, id="self-signed"),
    ],
)
async def test_any_other_certificate_is_refused_for_good_before_a_request(
    tmp_path: Path, host: str, expires_days: int, is_trusted: bool
) -> None:
    path, server = make_certificate(tmp_path, "origin.example", expires=NOW + timedelta(days=expires_days))
    trust = ssl.create_default_context(cafile=str(path)) if is_trusted else None
    async with Origin(tls=server) as origin, fetching(origin.allow, zone=Zone(**ZONE), tls=trust) as fetcher:
        with pytest.raises(OriginBroken, match="no valid certificate") as failure:
            await fetcher.fetch(origin.url("/a?sig=canary", host=host))

    assert not failure.value.retryable
    assert not origin.requests


async def test_a_connection_of_one_name_does_not_serve_another(tmp_path: Path) -> None:
    path, server = make_certificate(tmp_path, "origin.example", expires=NOW + timedelta(days=1))
    trust = ssl.create_default_context(cafile=str(path))
    async with Origin(tls=server) as origin, fetching(origin.allow, zone=Zone(**ZONE), tls=trust) as fetcher:
        origin.serve("/a", b"body")
        await fetcher.fetch(origin.url("/a", host="origin.example"))

        with pytest.raises(OriginBroken, match="certificate"):
            await fetcher.fetch(origin.url("/a", host="other.example"))
        assert origin.hits["/a"] == 1


async def test_a_port_that_does_not_speak_tls_is_broken() -> None:
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        with pytest.raises(OriginBroken, match="does not speak TLS"):
            await fetcher.fetch(f"https://127.0.0.1:{origin.port}/a")


async def test_a_redirect_from_https_to_http_leads_to_no_connection(tmp_path: Path) -> None:
    path, server = make_certificate(tmp_path, "origin.example", expires=NOW + timedelta(days=1))
    trust = ssl.create_default_context(cafile=str(path))
    async with Origin(tls=server) as origin, canary() as plain:
        origin.redirect("/a", f"http://origin.example:{plain.port}/a")
        async with fetching(origin.allow, zone=Zone(**ZONE), tls=trust) as fetcher:
            with pytest.raises(UrlNotAllowed):
                await fetcher.fetch(origin.url("/a", host="origin.example"))
        assert plain.connections == 0

"""Urls and addresses that must never lead to a connection, and some that must stay allowed.

Gathered from the OWASP cheat sheet on server-side request forgery, PayloadsAllTheThings and the techniques that
timescale/ressrf lists; the addresses from the IANA special-purpose registries.
"""

from __future__ import annotations

from collections.abc import Iterator

#: One or more addresses of every range that is not the public internet.
SPECIAL_ADDRESSES = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254"),  # noqa: S104
    *("127.0.0.1", "127.255.255.254", "169.254.0.1", "169.254.169.254", "169.254.130.1"),
    *("168.63.129.16", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
    *("192.0.0.1", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.2.1", "192.31.196.1"),
    *("192.52.193.1", "192.88.99.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::2", "::127.0.0.1", "::169.254.169.254", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16"),
    *("64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "100:0:0:1::1"),
    *("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:3::1", "2001:4:112::1"),
    *("2001:10::1", "2001:20::1", "2001:30::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1"),
    *("2620:4f:8000::1", "3fff::1", "4000::1", "5f00::1", "8000::1", "fc00::1", "fd00:ec2::254", "fdff::1"),
    *("fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "ff0e::1"),
)

PUBLIC_ADDRESSES = (
    *("1.1.1.1", "8.8.8.8", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1"),
    *("168.63.129.15", "168.63.129.17", "169.253.255.255", "172.15.255.255", "172.32.0.1", "192.167.255.255"),
    *("192.169.0.1", "198.17.255.255", "198.20.0.1", "223.255.255.255", "52.239.148.1", "::ffff:8.8.8.8"),
    *("2606:4700:4700::1111", "2a00:1450:4001:80e::200e", "2603:1030:401::1", "2001:4860:4860::8888"),
)

#: Ways to write 127.0.0.1 that getaddrinfo understands, or that some parser does.
LOOPBACK_SPELLINGS = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001", "0x7F.1", "0177.0.0.1"),
    *("0177.0000.0000.0001", "0x7f.0x0.0x0.0x1", "0x7f.0.0.1", "127.0.0.01", "127.000.000.001", "0", "0.0.0.0"),  # noqa: S104
    *("127.0.0.1.", "127.1.", "127.0.0.1..", "127.127.127.127", "127%2e0%2e0%2e1", "%31%32%37.0.0.1"),
    *("127。0。0。1", "127．0．0．1", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "٣٤.1"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::127.0.0.1]", "[::ffff:127.0.0.1]"),
    *("[::FFFF:7F00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]", "[::1%lo]"),
    *("[127.0.0.1]", "::1", "[::1].example.com", "[::ffff:7f00:1].example.com", "[example.com]", "[::1", "::1]"),
)

PRIVATE_NAMES = (
    *("localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "a.localhost", "ⓛocalhost", "loc%61lhost"),
    *("metadata.azure.internal", "metadata.google.internal", "host.docker.internal", "db.internal", "printer.local"),
    *("api.default.svc.cluster.local", "router.home.arpa", "metadata", "intranet", "app.azurewebsites.example"),
    *("slot.app.azurewebsites.example", "APP.azurewebsites.example", "app.azurewebsites.example."),
)

OTHER_SCHEMES = (
    *("file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", "dict://127.0.0.1:11211/stat", "ftp://example.com/a"),
    *(
        "sftp://example.com/",
        "tftp://example.com/",
        "ldap://localhost:389/",
        "jar:http://127.0.0.1!/",
        "smb://h.example/s",
    ),
    *("data:image/png;base64,iVBORw0KGgo=", "javascript:alert(1)", "phar:///a.phar", "netdoc:///etc/passwd"),
    *(
        "ws://example.com/",
        "wss://example.com/",
        "unix:///run/docker.sock",
        "blob:https://example.com/1",
        "about:blank",
    ),
    *("view-source:https://example.com/", "httpss://example.com/", "http+unix://%2Frun%2Fdocker.sock/"),
)

MALFORMED = (
    *(
        "-://example.com/",
        "",
        " ",
        "/",
        "//",
        "///",
        ":",
        "://",
        "https",
        "https:",
        "https:/",
        "https://",
        "https:///",
        "https://?",
        "https://#",
    ),
    *(
        "example.com",
        "//example.com/",
        "////example.com/",
        "https:example.com",
        "https:/example.com",
        "https:///example.com",
    ),
    *(" https://example.com/", "https://example.com/ ", "\thttps://example.com/", "ht\ntps://example.com/"),
    *(
        "https://exa\nmple.com/",
        "https://example.com\r\nHost: 127.0.0.1/",
        "https://example.com/\r\nX: y",
        "https://e.com/\x00",
    ),
    *("https://example.com\\", "https:\\\\example.com\\", "\\\\example.com\\share", "https://example.com/a\\b"),
    *(
        "https://good.example\\@127.0.0.1/",
        "https://127.0.0.1\\@good.example/",
        "https://example.com/\x7f",
        "https://e.com/\ud800",
    ),
    *("https://example.com:/", "https://example.com:0/", "https://example.com:00443/", "https://example.com:-1/"),
    *(
        "https://example.com:99999/",
        "https://example.com:443443/",
        "https://example.com:8443/",
        "https://example.com:80/",
    ),
    *(
        "https://example.com:443:443/",
        "https://example.com:４４３/",
        "https://example.com:4 43/",
        "http://example.com:443/",
    ),
    *("https://example..com/", "https://.example.com/", "https://-a.example.com/", "https://a-.example.com/"),
    *(
        "https://exa_mple.com/",
        "https://example.com./",
        "https://*.example.com/",
        "https://exam%70le.com/",
        "https://e%00.com/",
    ),
    *(
        "https://expected%00.evil.example/",
        "https://example.com%0d%0aHost:127.0.0.1/",
        "https://example.com%2f@127.0.0.1/",
    ),
    *("https://münchen.example/", "https://example。com/", "https://ex\u00adample.com/", "https://example.com\u2215x/"),
    *(f"https://{'a' * 64}.example/", f"https://{'a.' * 127}example/", f"https://example.com/{'a' * 2048}"),
    *("https://[]/", "https://[", "https://]/", "https://[::1]x/", "https://[v1.a]/", "https://[fe80::1%25eth0]/"),
    *(
        "https://1.2.3.4.5/",
        "https://example.1/",
        "https://example.0x1/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
    ),
)

USER_INFORMATION = (
    *(
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://@example.com/",
        "https://:@example.com/",
    ),
    *("https://example.com@127.0.0.1/", "https://127.0.0.1@example.com/", "https://example.com:443@127.0.0.1/"),
    *("https://a@b@example.com/", "https://user%40example.com@127.0.0.1/", "https://example.com:@127.0.0.1/"),
)

#: (as given, path and query as they must go over the wire)
ALLOWED = (
    ("https://example.com", "/"),
    ("https://example.com/", "/"),
    ("HTTPS://EXAMPLE.com/A.png", "/A.png"),
    ("https://example.com:443/a.png", "/a.png"),
    ("http://example.com:80/a.png", "/a.png"),
    ("https://xn--mnchen-3ya.example/", "/"),
    ("https://a--b.example/", "/"),
    ("https://1and1.example/", "/"),
    ("https://127.0.0.1.nip.example/", "/"),
    ("https://localhost.example/", "/"),
    ("https://example.com/http://127.0.0.1/@user:1/%2e%2e/a%20b;c=1,d", "/http://127.0.0.1/@user:1/%2e%2e/a%20b;c=1,d"),
    ("https://example.com/a/../b//c/./d", "/a/../b//c/./d"),
    ("https://example.com?a=b", "/?a=b"),
    ("https://example.com#@127.0.0.1:8080/a", "/"),
    ("https://example.com/a?next=https://u:p@127.0.0.1/?x#frag?ment", "/a?next=https://u:p@127.0.0.1/?x"),
    (
        "https://acct.blob.core.windows.net/c/b.png?sv=2024-11-04&se=2027-01-01T00%3A00%3A00Z&sp=r&sig=a%2Fb%2bc+d%3D==",
        "/c/b.png?sv=2024-11-04&se=2027-01-01T00%3A00%3A00Z&sp=r&sig=a%2Fb%2bc+d%3D==",
    ),
    ("https://example.com/bücher/猫.png?q=ü%", "/b%C3%BCcher/%E7%8C%AB.png?q=%C3%BC%"),
)


def hostile_urls(port: int) -> Iterator[str]:
    """Yield every hostile url; those that name a host aim at `port`, where a canary listens."""
    for host in (*LOOPBACK_SPELLINGS, *PRIVATE_NAMES, *map(_bracketed, SPECIAL_ADDRESSES)):
        for scheme in ("http", "https"):
            yield f"{scheme}://{host}:{port}/a.png"
            yield f"{scheme}://{host}/a.png"
    for userinfo in ("user@", "example.com@", "example.com:443@", "example.com%2f@", "example.com\\@"):
        yield f"http://{userinfo}127.0.0.1:{port}/a.png"
    yield from (*OTHER_SCHEMES, *MALFORMED, *USER_INFORMATION)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address

"""The url rule: hostile urls by list and by generation, and urls that must come through unharmed."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference.errors import OriginBroken, OriginFailed, UrlNotAllowed
from inference.fetch.address import AddressRule
from inference.fetch.url import Target, UrlRule
from inference.settings import Network
from tests.unit.fetch.hostile import ALLOWED, MALFORMED, USER_INFORMATION, hostile_urls
from tests.unit.fetch.zone import exception

OWN_HOSTS = ("app.azurewebsites.example", "rev--1.app.example:443", "")


def make_rule(*allow: Network, allow_http: bool = True) -> UrlRule:
    return UrlRule(AddressRule(allow), allow_http=allow_http, own_hosts=OWN_HOSTS)


@pytest.mark.parametrize("url", list(hostile_urls(8080)))
def test_a_hostile_url_is_refused_before_any_look_up(url: str) -> None:
    with pytest.raises(UrlNotAllowed) as refusal:
        make_rule(exception("127.9.9.9", 8080)).read(url)

    assert refusal.value.__cause__ is None
    assert len(url) < 12 or url not in str(refusal.value)


@pytest.mark.parametrize("url", USER_INFORMATION)
def test_user_information_is_refused_as_such(url: str) -> None:
    with pytest.raises(UrlNotAllowed, match="user name or a password"):
        make_rule().read(url)


@pytest.mark.parametrize(
    "host",
    ["[::ffff:169.254.169.254]", "[::ffff:10.0.0.1]", "[fd00:0::1]", "[fe80::1%251]", "[fe80::1%eth0]", "010.0.0.1"],
)
def test_not_even_an_exception_for_everything_lets_an_unusual_literal_through(host: str) -> None:
    rule = make_rule(exception("::/0", 80), exception("0.0.0.0/0", 80))

    assert rule.read("http://[fd00::1]/").host == "fd00::1"
    with pytest.raises(UrlNotAllowed):
        rule.read(f"http://{host}/")


@pytest.mark.parametrize("url", ["https://rev--1.app.example/", "https://a.rev--1.app.example/"])
def test_the_services_own_public_name_is_refused(url: str) -> None:
    with pytest.raises(UrlNotAllowed, match="not a public name"):
        make_rule().read(url)


@pytest.mark.parametrize(("url", "on_the_wire"), ALLOWED)
def test_a_public_url_keeps_path_and_query_byte_for_byte(url: str, on_the_wire: str) -> None:
    target = make_rule().read(url)

    assert target.request_url.raw_path_qs == on_the_wire
    assert (target.request_url.raw_host, target.request_url.port) == (target.host, target.port)
    assert target.request_url.scheme == target.scheme


def test_http_is_refused_unless_it_is_allowed() -> None:
    assert make_rule(allow_http=True).read("http://example.com/").port == 80
    with pytest.raises(UrlNotAllowed, match="scheme is not https"):
        make_rule(allow_http=False).read("http://example.com/")
    with pytest.raises(UrlNotAllowed, match="scheme is not https"):
        make_rule(exception("10.0.0.1", 80), allow_http=False).read("http://10.0.0.1/")


def test_an_exception_lets_its_own_literal_and_port_through_and_no_other() -> None:
    rule = make_rule(exception("10.0.0.1", 8080), exception("fd00::1", 9000))

    assert rule.read("http://10.0.0.1:8080/a").host == "10.0.0.1"
    assert rule.read("https://[fd00::1]:9000/a").request_url.raw_host == "fd00::1"
    assert rule.read("https://origin.example:9000/a").port == 9000
    for url in (
        "http://10.0.0.2:8080/",
        "http://10.0.0.1:9000/",
        "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]:8080/",
        "http://10.1:8080/",
        "http://167772161:8080/",
        "http://localhost:8080/",
        "http://origin.internal:8080/",
        "http://user@10.0.0.1:8080/",
        "ftp://10.0.0.1:8080/",
        "http://[FD00::1]:9000/../..\\",
        "https://origin.example:9001/",
    ):
        with pytest.raises(UrlNotAllowed):
            rule.read(url)


@given(st.text(max_size=60) | st.text(string.printable, max_size=60))
@example("https://example.com/")
def test_any_text_is_read_or_refused_and_what_is_read_is_what_the_client_asks_for(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com{text}", f"https://{text}@example.com/"):
        try:
            target = make_rule().read(url)
        except UrlNotAllowed:
            continue
        rebuilt = target.request_url
        assert (rebuilt.scheme, rebuilt.raw_host, rebuilt.port) == target.origin
        assert rebuilt.raw_path_qs.isascii()
        assert target.host in url.lower()
        assert "@" not in url.split("/")[2].partition("?")[0].partition("#")[0]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{0}", "{0:#x}", "{0:#o}", "0{0:o}", "{0:#X}."]))
def test_no_number_passes_for_a_host(number: int, form: str) -> None:
    with pytest.raises(UrlNotAllowed):
        make_rule().read(f"https://{form.format(number)}/")


@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5), st.lists(st.sampled_from(["", "0", "0x"])), st.data()
)
def test_no_dotted_numbers_pass_for_a_host(numbers: list[int], prefixes: list[str], data: st.DataObject) -> None:
    parts = [data.draw(st.sampled_from(["", *prefixes])) + str(number) for number in numbers]

    with pytest.raises(UrlNotAllowed):
        make_rule().read(f"https://{'.'.join(parts)}/")


BASE = "https://example.com/dir/page?q=1"


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://other.example/x?a=%2F&b=+#f", "https://other.example/x?a=%2F&b=+"),
        ("//other.example/x", "https://other.example/x"),
        ("/x/../y?z", "https://example.com/x/../y?z"),
        ("x?z=%2f", "https://example.com/dir/x?z=%2f"),
        ("../x", "https://example.com/x"),
        ("../../x", "https://example.com/x"),
        ("../../..", "https://example.com/"),
        ("?z", "https://example.com/dir/page?z"),
        ("#f", "https://example.com/dir/page?q=1"),
        ("b\udcfccher", "https://example.com/dir/b%FCcher"),
        ("猫", "https://example.com/dir/%E7%8C%AB"),
    ],
)
def test_a_location_is_resolved_as_rfc_3986_says(location: str, url: str) -> None:
    rule = make_rule()

    assert rule.follow(rule.read(BASE), location) == rule.read(url)


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("//[x/y", "//[x/z"),
        ("//[x]/y", "//[x]/z"),
        ("//other.example/y", "//other.example/z"),
        ("///y", "///z"),
        ("//", "//z"),
        ("/hosty", "/z"),
        ("/a;b/c;d", "/a;b/z"),
    ],
)
def test_a_path_that_begins_with_two_slashes_is_no_host(path: str, resolved: str) -> None:
    rule = make_rule()
    base = rule.read(f"https://example.com{path}")

    assert rule.follow(base, "z") == rule.read(f"https://example.com{resolved}")


@pytest.mark.parametrize(
    "location", [None, "", "http:", "https://", "\\\\evil.example", "a:b", "/a b", "x\ty", "x\\y", "//", "https://a:x/"]
)
def test_a_malformed_location_is_the_origins_fault(location: str | None) -> None:
    rule = make_rule()

    with pytest.raises(OriginBroken, match="redirects to"):
        rule.follow(rule.read(BASE), location)


# relative to a base some malformed urls mean something; the generated test below holds them
@pytest.mark.parametrize("url", [url for url in hostile_urls(8080) if url not in MALFORMED])
def test_a_redirect_to_a_hostile_url_is_refused(url: str) -> None:
    rule = make_rule(exception("127.9.9.9", 8080))

    with pytest.raises((UrlNotAllowed, OriginBroken)):
        rule.follow(rule.read(BASE), url)


def test_a_redirect_from_https_to_http_is_refused_and_the_other_way_is_not() -> None:
    rule = make_rule()

    with pytest.raises(UrlNotAllowed, match="from https to http"):
        rule.follow(rule.read(BASE), "http://example.com/")
    assert rule.follow(rule.read("http://example.com/"), "https://example.com/").scheme == "https"


@given(st.text("/[]@:?#.;%a1-猫\udc80", max_size=12), st.text(max_size=40) | st.text("/[]@:?#.;%a1-", max_size=12))
def test_any_location_is_followed_to_a_vetted_target_or_refused(path: str, location: str) -> None:
    rule = make_rule()
    try:
        target = rule.follow(rule.read(f"https://example.com/{path}"), location)
    except (UrlNotAllowed, OriginFailed):
        return
    assert isinstance(target, Target)
    assert target == rule.read(str(target.request_url))

"""Route templates: what matches, with which values, and what is tried first."""

from __future__ import annotations

import random

import pytest

from devhost.errors import ConfigurationError
from devhost.route_templates import RouteTemplate

GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("score", "score", {}),
        ("score", "SCORE", {}),
        ("score", "scores", None),
        ("score", "score/x", None),
        ("", "", {}),
        ("models/{model}", "models/digits", {"model": "digits"}),
        ("models/{model}", "models", None),
        ("models/{model}", "models/a/b", None),
        ("models/{model}/versions/{version:int}", "models/a/versions/3", {"model": "a", "version": "3"}),
        ("models/{model}/versions/{version:int}", "models/a/versions/x", None),
        ("items/{id?}", "items", {}),
        ("items/{id?}", "items/5", {"id": "5"}),
        ("items/{id=7}", "items", {"id": "7"}),
        ("items/{id=7}", "items/8", {"id": "8"}),
        ("items/{id:int?}", "items", {}),
        ("items/{id:int?}", "items/x", None),
        ("files/{*rest}", "files/a/b.txt", {"rest": "a/b.txt"}),
        ("files/{*rest}", "files", {}),
        ("v2/{**rest}", "v2/models/a", {"rest": "models/a"}),
        ("{name}.{extension}", "photo.of.me.jpg", {"name": "photo.of.me", "extension": "jpg"}),
        ("v{version:int}/x", "v12/x", {"version": "12"}),
        ("literal/{{x}}", "literal/{x}", {}),
        ("a b/{x}", "a b/ü/", None),
        ("a b/{x}", "a b/ü", {"x": "ü"}),
    ],
)
def test_a_path_matches_a_template_as_in_asp_net(template: str, path: str, values: dict[str, str] | None) -> None:
    assert RouteTemplate(template).match(path) == values


@pytest.mark.parametrize(
    ("constraint", "accepted", "refused"),
    [
        ("int", ["0", "-5", "2147483647"], ["2147483648", "1.0", "x", "1_0", "٣"]),
        ("long", ["2147483648", "-9223372036854775808"], ["9223372036854775808", "x"]),
        ("bool", ["true", "False"], ["1", "yes"]),
        ("decimal", ["1.5", "-2"], ["x", "1_0"]),
        ("double", ["1e5", "2"], ["x"]),
        ("float", ["1.5"], ["x"]),
        ("datetime", ["2026-11-21", "2026-11-21T10:00:00"], ["yesterday"]),
        ("guid", [GUID, GUID.upper(), GUID.replace("-", "")], ["0f8fad5b"]),
        ("alpha", ["abcXYZ"], ["abc1", "a-b"]),
        ("length(3)", ["abc"], ["ab", "abcd"]),
        ("length(2,3)", ["ab", "abc"], ["a", "abcd"]),
        ("minlength(2)", ["ab", "abc"], ["a"]),
        ("maxlength(2)", ["a", "ab"], ["abc"]),
        ("min(18)", ["18", "99"], ["17", "x"]),
        ("max(120)", ["120", "-1"], ["121"]),
        ("range(18,120)", ["18", "120"], ["17", "121"]),
        (r"regex(^\d{{3}}-\d{{2}}$)", ["123-45"], ["1234-5"]),
        ("regex(^(cat|dog)$)", ["cat", "DOG"], ["cow"]),
        ("int:min(3)", ["3"], ["2", "x"]),
        ("required", ["x"], []),
    ],
)
def test_a_constraint_accepts_and_refuses_as_in_asp_net(
    constraint: str, accepted: list[str], refused: list[str]
) -> None:
    template = RouteTemplate(f"x/{{value:{constraint}}}")

    assert [value for value in accepted if template.match(f"x/{value}") is None] == []
    assert [value for value in refused if template.match(f"x/{value}") is not None] == []


@pytest.mark.parametrize(
    "template",
    ["a/{b", "a/b}", "a//b", "{*rest}/more", "{a}/{A}", "{a:nothing}", "{a:length(x)}", "{}", "{a:regex([)}"],
)
def test_a_template_that_asp_net_refuses_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError, match="Route"):
        RouteTemplate(template)


def test_literals_come_before_parameters_and_constraints_before_free_ones() -> None:
    ordered = [
        "api/models",
        "api/models/digits/score",
        "api/models/{model}/versions/{version:int}",
        "api/models/{model:alpha}",
        "api/models/{model}",
        "api/models/{*rest}",
        "api/{anything}",
    ]
    # The real comparison puts the longer of two templates first when one starts like the other.
    expected = [ordered[1], ordered[3], ordered[2], *ordered[4:6], ordered[0], ordered[6]]
    shuffled = [RouteTemplate(text) for text in ordered]
    random.Random(5).shuffle(shuffled)

    assert [template.text for template in sorted(shuffled)] == expected

"""What commands print for a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.cli.output import format_prediction, print_fields, print_table, write_chunks


def test_a_table_is_never_cut_however_narrow_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")

    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        print_table(("BATCH", "TOTAL", "URL"), [("scans", 9, "https://host/a-long-one.png"), ("b", 10, None)])

    assert capsys.readouterr().out == ("BATCH  TOTAL  URL\nscans      9  https://host/a-long-one.png\nb         10\n")


def test_columns_stand_below_each_other_for_wide_characters_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID", "CODE"), [("図", "x"), ("ab", "y")])

    assert capsys.readouterr().out == "ID  CODE\n図  x\nab  y\n"


def test_an_id_or_label_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ID",), [("a\x1b[31m",)])
    print_fields([("id", "a\x1b]0;title\x07"), ("none", None)])

    assert capsys.readouterr().out == "ID\na�[31m\nid  a�]0;title�\n"
    assert format_prediction({"label": "\x9b2J", "score": 1}) == "�2J  1.0000"


def test_a_download_that_breaks_off_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise ConnectionError

    file = tmp_path / "results.jsonl"
    file.write_bytes(b"old")
    with pytest.raises(ConnectionError):
        write_chunks(chunks(), file)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("results.jsonl", b"old")]

    link = tmp_path / "link"
    link.symlink_to(file)
    write_chunks([b"new", b"er"], link)
    assert (link.is_symlink(), file.read_bytes()) == (True, b"newer")


def test_a_download_may_go_to_a_device() -> None:
    write_chunks([b"gone"], Path("/dev/null"))
    assert Path("/dev/null").is_char_device()

"""Imports are not searched for garbage, and afterwards everything else is again."""

import gc
import threading

import pytest

from inference.imports import importing


def test_nothing_is_collected_within_and_all_is_afterwards() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_is_there_at_the_end_is_not_looked_at_again() -> None:
    with importing():
        pass
    try:
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_collections_go_on_though_an_import_fails() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_collections_go_on_once_the_last_of_several_threads_is_done() -> None:
    may_end = threading.Event()
    began = threading.Event()

    def import_slowly() -> None:
        with importing():
            began.set()
            may_end.wait(30)

    thread = threading.Thread(target=import_slowly)
    thread.start()
    began.wait(30)
    with importing():
        pass
    assert not gc.isenabled()
    may_end.set()
    thread.join()
    assert gc.isenabled()

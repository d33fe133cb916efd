"""Parts are imported one at a time, and nothing is searched for garbage meanwhile."""

import gc
import sys
import threading

import pytest

from inference.imports import importing


def test_nothing_is_collected_within_and_all_is_afterwards() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
        with importing():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_other_threads_get_the_interpreter_sooner_within() -> None:
    before = sys.getswitchinterval()
    with importing(), importing():
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before


def test_what_is_alive_meanwhile_can_be_collected_later() -> None:
    frozen = gc.get_freeze_count()
    with importing():
        pass
    assert gc.get_freeze_count() == frozen


def test_collections_go_on_though_an_import_fails() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_collections_that_the_process_has_put_off_stay_so() -> None:
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_one_thread_imports_at_a_time() -> None:
    """numpy, imported by one thread while another imports onnxruntime, is broken for the rest of the process."""
    began, may_end, second_began = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with importing():
            began.set()
            may_end.wait(120)
            assert not second_began.is_set()

    def second() -> None:
        began.wait(120)
        with importing():
            second_began.set()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    began.wait(120)
    assert not second_began.wait(0.05)
    may_end.set()
    assert second_began.wait(120)
    for thread in threads:
        thread.join()
    assert gc.isenabled()

"""A version's own score.py: what it is told, what comes back, and everything a script can do wrong."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import orjson
import pytest

from inference.engine.core_pool import CorePool
from inference.errors import InferenceFailed, InvalidRequest, InvalidText, ModelUnavailable
from inference.models import script as script_module
from inference.models.loading import load_ready_session, load_session
from inference.models.manifest import write_manifest
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.script import MODEL_FOLDER_VARIABLE, ScriptSession
from tests.unit.models.published import pixels_as_logits, write_version

#: As Azure ML's documentation writes them.
ENTRY_SCRIPT = """
import json
import os

def init():
    global factor
    with open(os.path.join(os.getenv("AZUREML_MODEL_DIR"), "factor.txt")) as file:
        factor = int(file.read())

def run(raw_data):
    return {"result": [factor * value for value in json.loads(raw_data)["data"]]}
"""


@pytest.fixture(autouse=True)
def no_modules_left() -> Iterator[None]:
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if name.startswith("score_"):
            del sys.modules[name]


def publish(repository: Path, script: str, *, name: str = "tiny", toml: str = "", **files: bytes) -> ModelVersion:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    contents = {"score.py": script.encode(), "model.toml": toml.encode()}
    for file, content in {**contents, **{f"{stem}.txt": data for stem, data in files.items()}}.items():
        if content:
            (folder / file).write_bytes(content)
    write_manifest(folder)
    return ModelRepository(repository).resolve(name)


def load(version: ModelVersion) -> ScriptSession:
    session = load_ready_session(version, score_scripts=True)
    assert isinstance(session, ScriptSession)
    return session


def script(run: str, *, init: str = "pass", signature: str = "raw_data") -> str:
    return f"import sys, threading\ndef init():\n    {init}\ndef run({signature}):\n    {run}\n"


def test_entry_script_loads_from_its_folder_and_answers_requests(tmp_path: Path) -> None:
    version = publish(tmp_path, ENTRY_SCRIPT, factor=b"3")
    session = load(version)

    assert session.run_script(b'{"data": [1, 2]}') == b'{"result":[3,6]}'
    assert (session.spec.task, session.sha256) == ("script", version.manifest_sha256)
    assert MODEL_FOLDER_VARIABLE not in os.environ
    assert {path.name for path in version.path.iterdir()} == {"score.py", "factor.txt", "manifest.json"}


def test_variable_of_the_operator_is_there_again_after_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_FOLDER_VARIABLE, "/operators/own")
    load(publish(tmp_path, ENTRY_SCRIPT, factor=b"3"))

    assert os.environ[MODEL_FOLDER_VARIABLE] == "/operators/own"


def test_two_models_have_each_their_own_globals_and_folder(tmp_path: Path) -> None:
    threes = load(publish(tmp_path, ENTRY_SCRIPT, name="threes", factor=b"3"))
    fives = load(publish(tmp_path, ENTRY_SCRIPT, name="fives", factor=b"5"))

    assert threes.run_script(b'{"data": [1]}') == b'{"result":[3]}'
    assert fives.run_script(b'{"data": [1]}') == b'{"result":[5]}'


def test_script_does_not_wait_for_ever_behind_one_whose_init_never_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script_module, "START_SECONDS", 0.05)
    begun, may_end = tmp_path / "begun", tmp_path / "may-end"
    for pipe in (begun, may_end):
        os.mkfifo(pipe)
    init = f"open({str(begun)!r}, 'w').close(); open({str(may_end)!r}).close()"
    stuck = publish(tmp_path, script("return 1", init=init), name="stuck")
    other = publish(tmp_path, script("return 2"), name="other")
    with ThreadPoolExecutor(1) as executor:
        loading = executor.submit(load, stuck)
        begun.open().close()  # opens when init() does
        with pytest.raises(ModelUnavailable, match=r"it cannot start while another version does"):
            load(other)
        may_end.open("w").close()

        assert loading.result().run_script(b"") == b"1"
    assert load(other).run_script(b"") == b"2"


def test_script_is_not_even_read_where_the_setting_does_not_allow_it(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    version = publish(tmp_path, f"open({str(mark)!r}, 'w').close()\n{ENTRY_SCRIPT}", factor=b"3")

    for call in (load_session, load_ready_session):
        with pytest.raises(ModelUnavailable, match=r"^tiny:1: score\.py: the setting INFERENCE_SCORE_SCRIPTS"):
            call(version)
    assert not mark.exists()


def test_script_beside_a_model_is_what_serves_or_nothing_is(tmp_path: Path) -> None:
    version = write_version(tmp_path, pixels_as_logits(), files={"score.py": script("return 7").encode()})

    assert load(version).run_script(b"") == b"7"
    with pytest.raises(ModelUnavailable, match="INFERENCE_SCORE_SCRIPTS"):
        load_session(version)


def test_script_that_its_manifest_does_not_vouch_for_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    version = publish(tmp_path, ENTRY_SCRIPT, factor=b"3")
    (version.path / "score.py").write_text(f"open({str(mark)!r}, 'w').close()\n{ENTRY_SCRIPT}")

    with pytest.raises(ModelUnavailable, match=r"score\.py"):
        load(version)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def init(:", r"score\.py: it cannot be imported: SyntaxError"),
        ("import a_package_that_is_not_there", "it cannot be imported: ModuleNotFoundError"),
        ("raise SystemExit(3)", "it cannot be imported: SystemExit: 3"),
        ("def run(data): pass", r"it has no plain function init\(\)"),
        ("def init(): pass\nrun = 7", r"it has no plain function run\(\)"),
        ("def init(): pass\nasync def run(data): pass", r"it has no plain function run\(\)"),
        (script("pass", signature=""), r"run\(\) must take one argument"),
        (script("pass", signature="*data"), r"run\(\) must take one argument"),
        (script("pass", signature="a, b"), r"run\(\) must take one argument"),
        (script("pass", signature="a, /"), r"run\(\) must take one argument"),
        (script("pass", signature="request_headers"), r"run\(\) must take one argument"),
        (script("pass", init="raise ValueError('no weights')"), r"init\(\) failed: ValueError: no weights\.$"),
        (script("pass", init="sys.exit()"), r"init\(\) failed: SystemExit"),
    ],
)
def test_script_that_cannot_serve_is_refused_with_the_reason(tmp_path: Path, source: str, reason: str) -> None:
    before = {*sys.modules}

    with pytest.raises(ModelUnavailable, match=rf"^tiny:1: .*{reason}"):
        load(publish(tmp_path, source))
    assert {*sys.modules} == before


def test_reason_of_a_failed_init_does_not_name_the_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelUnavailable, match=r"init\(\) failed: FileNotFoundError") as refused:
        load(publish(tmp_path, ENTRY_SCRIPT))

    assert str(tmp_path) not in refused.value.message
    assert caplog.messages == ["score.py of tiny:1 failed to start"]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ("'text'", b'"text"'),
        ("[1, 2.5, None, True]", b"[1,2.5,null,true]"),
        ("{'a': {1: 'b'}}", b'{"a":{"1":"b"}}'),
        ("__import__('numpy').arange(3)", b"[0,1,2]"),
        ("__import__('numpy').arange(6).reshape(2, 3).T", b"[[0,3],[1,4],[2,5]]"),
        ("__import__('numpy').eye(2)[:, 1]", b"[0.0,1.0]"),
        ("__import__('numpy').array(['cat', 'dog'])", b'["cat","dog"]'),
        ("__import__('numpy').array(['cat', None, 1], object)", b'["cat",null,1]'),
        ("{'best': __import__('numpy').array(3.5)}", b'{"best":3.5}'),
        ("None", b"null"),
    ],
)
def test_anything_that_is_json_comes_back_as_json(tmp_path: Path, answer: str, body: bytes) -> None:
    assert load(publish(tmp_path, script(f"return {answer}"))).run_script(b"") == body


@pytest.mark.parametrize("answer", ["object()", "{1, 2}", "b'bytes'", "(_ for _ in ())", "2**70"])
def test_what_is_no_json_is_a_failure_of_the_model(tmp_path: Path, answer: str) -> None:
    session = load(publish(tmp_path, script(f"return {answer}")))

    with pytest.raises(InferenceFailed, match="not JSON"):
        session.run_script(b"")


@pytest.mark.parametrize(
    "act", ["raise ValueError('/secret/path')", "sys.exit(1)", "raise KeyboardInterrupt", "return 1 / 0"]
)
def test_run_that_raises_fails_its_request_and_no_other(
    tmp_path: Path, act: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = script(f"if raw_data: return raw_data\n    {act}")
    session = load(publish(tmp_path, source))

    with pytest.raises(InferenceFailed, match=r"score\.py: run\(\) raised \w+\.$"):
        session.run_script(b"")
    assert session.run_script(b"again") == b'"again"'
    assert caplog.messages == ["score.py of tiny:1: run() raised"]


def test_run_gets_the_body_as_text_and_the_headers_if_it_asks_for_them(tmp_path: Path) -> None:
    source = script("return [data, request_headers]", signature="data, request_headers")
    session = load(publish(tmp_path, source))

    answer = orjson.loads(session.run_script("\ufeff{屋根}".encode(), {"x-request-id": "a"}))
    assert answer == ["{屋根}", {"x-request-id": "a"}]
    with pytest.raises(InvalidText):
        session.run_script(b"\xff")


@pytest.mark.parametrize(("parallel", "seconds"), [(1, 0.1), (2, 30)])
def test_requests_take_turns_unless_the_declaration_allows_several_at_once(
    tmp_path: Path, parallel: int, seconds: float
) -> None:
    # Two may pass a barrier of two together; where they take turns, the first waits for the second in vain.
    source = script(
        f"try:\n        barrier.wait({seconds})\n        return True\n    except threading.BrokenBarrierError:\n"
        "        return False",
        init="global barrier; barrier = threading.Barrier(2)",
    )
    session = load(publish(tmp_path, source, toml=f"[execution]\nparallel = {parallel}"))

    pool = CorePool(2, lambda _: None)
    run = partial(session.run_script, b"")
    works = [pool.submit(run, is_interactive=True, turns=session.turns) for _ in range(2)]
    together = [work.future.result(120) for work in works]
    pool.close()
    assert together == [b"true" if parallel == 2 else b"false"] * 2


def test_script_takes_no_tensors(tmp_path: Path) -> None:
    session = load(publish(tmp_path, script("return 1")))

    with pytest.raises(InvalidRequest, match=r"tiny:1 is served by its own score\.py"):
        session.run_tensors({})


def test_class_of_a_script_can_be_pickled(tmp_path: Path) -> None:
    source = "import pickle\nfrom dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n" + script(
        "return pickle.loads(pickle.dumps(Point(3))).x"
    )

    assert load(publish(tmp_path, source)).run_script(b"") == b"3"


def test_module_of_a_version_that_was_dropped_is_given_up_and_that_of_its_next_load_is_not(tmp_path: Path) -> None:
    before = {*sys.modules}
    version = publish(tmp_path, script("return threading.current_thread().name"))

    first = load(version)
    second = load(version)
    del first
    gc.collect()
    (name,) = {*sys.modules} - before
    assert second.run_script(b"")

    del second
    gc.collect()
    assert name not in sys.modules

"""Child processes: what becomes of one costs one request, is told plainly, and leaves nobody behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from featx import child as child_module
from featx.child import Child, ChildError
from featx.errors import FeatxError
from tests.contracts import run_python, time_limit

MB = 2**20

START = "from featx.child import Child\nchild = Child('tests.children:misbehave', {}, "


@pytest.fixture(autouse=True)
def _patience():
    with time_limit(30):
        yield


@pytest.fixture
def echoing():
    with Child("tests.children:echo", {"a": [1, None]}, timeout_s=10, max_bytes=64 * MB) as child:
        yield child


@pytest.fixture
def misbehaving():
    with Child("tests.children:misbehave", {}, timeout_s=0.5, max_bytes=64 * MB) as child:
        yield child


def test_a_request_is_answered_by_a_function_of_another_process(echoing):
    header, content = echoing.request({"name": "\udcff\n"}, b"ab", b"", np.arange(3, dtype=np.uint8))
    assert header["settings"] == {"a": [1, None]}
    assert header["header"] == {"name": "\udcff\n"}
    assert header["pid"] == echoing.pid != os.getpid()
    assert bytes(content) == b"ab\0\1\2"


def test_content_larger_than_any_pipe_passes_whole(echoing):
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 5000), np.uint8)
    _, content = echoing.request({}, pixels)
    received = np.frombuffer(content, np.uint8)
    np.testing.assert_array_equal(received.reshape(pixels.shape), pixels)
    assert received.flags.writeable


def test_content_may_be_empty(echoing):
    assert len(echoing.request({})[1]) == 0
    assert len(echoing.request({}, np.empty((0, 3)), b"")[1]) == 0


def test_one_process_answers_all(echoing):
    assert len({echoing.request({"i": i})[0]["pid"] for i in range(20)}) == 1


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("crash", "died (SIGSEGV)"),
        ("segv", "died (SIGSEGV)"),
        ("abort", "died (SIGABRT)"),
        ("leave", "ended (exit status 3)"),
        ("raise", "failed (KeyError: 'size')"),
        ("spin", "took longer than 0.5 s"),
        ("stop", "took longer than 0.5 s"),
        ("hoard", "needed more than 64 MB"),
        ("close", "stopped answering"),
        ("reply too long", "sent more than 64 MB"),
        ("reply no json", "failed (TypeError: Object of type object is not JSON serializable)"),
    ],
)
def test_a_failed_request_says_why_and_the_next_one_is_answered(misbehaving, deed, reason):
    misbehaving.request({"do": "answer"})
    first = misbehaving.pid
    with pytest.raises(ChildError) as caught:
        misbehaving.request({"do": deed}, b"content")
    assert caught.value.reason == reason
    assert misbehaving.pid is None
    assert not os.path.exists(f"/proc/{first}")  # noqa: PTH110
    assert bytes(misbehaving.request({"do": "answer"}, b"next")[1]) == b"next"
    assert misbehaving.pid != first


def test_more_content_than_the_child_may_hold_fails_that_request(misbehaving):
    with pytest.raises(ChildError, match="needed more than 64 MB"):
        misbehaving.request({"do": "answer"}, bytes(128 * MB))
    assert bytes(misbehaving.request({"do": "answer"}, b"next")[1]) == b"next"


def test_a_child_that_reads_nothing_is_late(misbehaving):
    misbehaving.request({"do": "answer"})
    os.kill(misbehaving.pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(ChildError, match="took longer than"):
        misbehaving.request({"do": "answer"}, bytes(32 * MB))
    assert 0.4 < time.monotonic() - started < 5


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system counts no waiting")
def test_waiting_for_a_processor_is_no_fault_of_a_child():
    cpu = min(os.sched_getaffinity(0))
    rival = f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile os.getppid() == {os.getpid()}: pass"
    rivals = [subprocess.Popen([sys.executable, "-c", rival]) for _ in range(4)]
    try:
        with Child("tests.children:misbehave", {}, timeout_s=1, max_bytes=64 * MB) as child:
            child.request({"do": "answer"})
            os.sched_setaffinity(child.pid, {cpu})
            started = time.monotonic()
            child.request({"do": "work"})
            assert time.monotonic() - started > 1
    finally:
        for process in rivals:
            process.kill()
            process.wait()


def test_a_child_that_ended_between_requests_costs_none(echoing):
    echoing.request({})
    os.kill(echoing.pid, signal.SIGKILL)
    os.waitid(os.P_PID, echoing.pid, os.WEXITED | os.WNOWAIT)
    assert echoing.request({"i": 1})[0]["header"] == {"i": 1}


def test_what_a_library_prints_is_no_reply(misbehaving, capfd):
    header, content = misbehaving.request({"do": "chatter"}, b"pixels")
    assert (header, bytes(content)) == ({"input": ""}, b"pixels")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "a library's banner\nand a print\n"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("tests.children:broken", r"it failed \(ValueError: no such setting\)"),
        ("tests.children:absent", r"it failed \(AttributeError"),
        ("no_such_module:serve", r"it failed \(ModuleNotFoundError"),
    ],
)
def test_a_child_that_cannot_start_is_no_fault_of_the_request(target, reason):
    with pytest.raises(FeatxError, match=reason), Child(target, {}, timeout_s=1, max_bytes=MB) as child:
        child.request({})


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import os; os.write(1, b'=' + b'\\xff' * 16)", "sent more than 1 MB"),
        ("import os; os.write(1, b'=' + b'\\1' + bytes(15) + b'[')", "sent no valid reply"),
        ("import os; os.write(1, b'=' + b'\\2' + bytes(15) + b'[]')", "sent no valid reply"),
        ("import os; os.write(1, b'=')", r"ended \(exit status 0\)"),
    ],
)
def test_the_parent_believes_nothing_that_is_no_reply(monkeypatch, script, reason):
    monkeypatch.setattr(child_module, "_BOOTSTRAP", script)
    with pytest.raises(FeatxError, match=reason), Child("a:b", {}, timeout_s=1, max_bytes=MB) as child:
        child.request({})


def test_without_an_interpreter_there_is_one_plain_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FeatxError, match="No such file"):
        Child("tests.children:echo", {}, timeout_s=1, max_bytes=MB).request({})


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    # What stands beside the script is found by it alone, and shadows nothing in the child while it starts.
    (tmp_path / "helpers.py").write_text("from tests.children import echo\n")
    script.write_text(
        "from featx.child import Child\n"
        "print('once')\n"
        "child = Child('helpers:echo', {}, timeout_s=10, max_bytes=2**26)\n"
        "print(bytes(child.request({}, b'twice?')[1]))\n"
        "child.close()\n"
    )
    finished = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (finished.stdout, finished.stderr) == ("once\nb'twice?'\n", "")


@pytest.mark.parametrize("deed", ["answer", "spin"])
def test_a_killed_parent_leaves_no_orphan(deed):
    code = (
        f"import os, signal, threading\n{START}timeout_s=0.2, max_bytes=2**26)\n"
        "child.request({'do': 'answer'})\n"
        "threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()\n"
        f"child.request({{'do': '{deed}'}})\n"
        "threading.Event().wait()\n"
    )
    # The child holds the other end of stderr: this returns when it has ended too.
    finished = run_python(code)
    assert (finished.returncode, finished.stderr) == (-signal.SIGKILL, "")


def test_ctrl_c_ends_parent_and_child_at_once():
    code = f"{START}timeout_s=60, max_bytes=2**26)\nprint('go', flush=True)\nchild.request({{'do': 'spin'}})"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes) as process:
        assert process.stdout.readline() == "go\n"
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert "child_process" not in errors
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_an_interrupted_request_is_not_answered_later(echoing):
    echoing.request({})

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGUSR1, interrupt)
    os.kill(echoing.pid, signal.SIGSTOP)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            echoing.request({"i": "interrupted"})
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, previous)
    assert echoing.request({"i": "next"})[0]["header"] == {"i": "next"}


def test_threads_have_children_of_their_own():
    found = {}

    def work(name):
        with Child("tests.children:echo", {}, timeout_s=10, max_bytes=64 * MB) as child:
            found[name] = [bytes(child.request({}, f"{name} {i}".encode())[1]) for i in range(50)]

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [f"{name} {i}".encode() for i in range(50)] for name in range(4)}


def test_a_closed_child_is_gone_and_may_be_asked_again(echoing):
    first = echoing.request({})[0]["pid"]
    echoing.close()
    echoing.close()
    assert not os.path.exists(f"/proc/{first}")  # noqa: PTH110
    assert echoing.request({})[0]["pid"] != first

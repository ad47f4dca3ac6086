"""Clusters are joined by an address that makes sense, or started here and stopped again."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featx.distributed.cluster import check_address, connected
from featx.errors import ClusterError
from tests.conftest import write_class_folder


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379", "[::1]:6379"])
def test_addresses(address):
    check_address(address)


@pytest.mark.parametrize("address", ["", "photos", "ray://head:10001", "http://head:80/x", "head"])
def test_what_is_no_address(address):
    with pytest.raises(ClusterError, match="HOST:PORT"):
        check_address(address)


@pytest.mark.ray
def test_a_cluster_is_started_and_stopped():
    with connected() as ray:
        assert ray.get(ray.remote(lambda: 1 + 1).remote()) == 2
        with connected("auto") as same:
            assert same is ray
        assert ray.is_initialized()
    assert not ray.is_initialized()


@pytest.mark.ray
def test_an_address_where_nothing_answers():
    with pytest.raises(ClusterError, match="at which no Ray cluster answers"), connected("127.0.0.1:1"):
        pass


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """The address of a cluster with one GPU, as it was told, that somebody started elsewhere."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        f"--port={port}",
        "--num-cpus=3",
    ]
    environment = {**os.environ, "FEATX_CACHE": "nowhere"}
    environment.pop("RAY_AUTH_MODE", None)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    options = ["--include-dashboard=false", "--disable-usage-stats", "--block"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=elsewhere,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ended = time.monotonic() + 60
    while time.monotonic() < ended:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.2)
    yield f"127.0.0.1:{port}", elsewhere
    process.terminate()
    process.wait(60)


@pytest.mark.ray
@pytest.mark.parametrize("how", ["auto", "address"])
def test_a_cluster_that_somebody_else_started(started, how, tmp_path, monkeypatch):
    address, elsewhere = started
    write_class_folder(tmp_path / "images", n_images=20)
    monkeypatch.chdir(tmp_path)
    # In a process of its own: one process, one cluster at a time.
    words = ["extract", "images", "--store", "store", "--out", "f.h5", "--backbone", "MobileNetV2"]
    # Of two actors one finds no GPU, and the other does all the work.
    where = [address, "--actors", "2"] if how == "address" else ["auto"]
    words += ["--weights", "none", "--input-size", "32", "--ray", *where]
    done = subprocess.run(
        [sys.executable, "-m", "featx", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_computed"] == 20
    # Nobody writes where the cluster was started.
    assert list(elsewhere.iterdir()) == []


@pytest.mark.ray
def test_a_cluster_that_was_killed_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match="at which no Ray cluster answers"), connected("auto"):
        pass

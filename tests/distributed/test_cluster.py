"""Clusters are joined by an address that makes sense, or started here and stopped again."""

import pytest

from featx.distributed.cluster import check_address, connected
from featx.errors import ClusterError


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379", "ray://head:10001", "[::1]:6379"])
def test_addresses(address):
    check_address(address)


@pytest.mark.parametrize("address", ["", "photos", "ray://", "http://head:80/x", "head"])
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

"""Which addresses are of this machine, of private networks or of a cloud's own services."""

from __future__ import annotations

import pytest

from pipeline.storage.reach import is_private


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1"),
        *("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
    ],
)
def test_a_private_address_is_one_however_it_is_written(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_web_is_none(address: str) -> None:
    assert not is_private(address)

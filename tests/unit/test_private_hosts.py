"""Which hosts are private: one rule for redirects and for who can reach a node."""

from __future__ import annotations

import pytest

from alithis.base.http import is_private


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost.",
        "db.localhost",
        "printer.local",
        "nas.lan",
        "vault.internal",
        "VAULT.INTERNAL.",
        "intranet",
        "",
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
    ],
)
def test_private(host):
    assert is_private(host)


@pytest.mark.parametrize(
    "host", ["example.org", "example.org.", "1.1.1.1", "2606:4700::1111", "a.b.c7", "x.local.org"]
)
def test_public(host):
    assert not is_private(host)

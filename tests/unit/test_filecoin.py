"""Filecoin's own spelling of addresses and amounts."""

import pytest

from alithis.chain.filecoin import filecoin_address, format_fil


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        # From go-address and from the Filecoin clients that share its vectors.
        (
            "0xd388ab098ed3e84c0d808776440b48f685198498",
            "410f2oekwcmo2pueydmaq53eic2i62crtbeyuzx2gmy",
        ),
        (
            "0x8dbd6c7ede90646a61bbc649831b7c298bfd37a0",
            "410frw6wy7w6sbsguyn3yzeygg34fgf72n5ao5sxyky",
        ),
    ],
)
def test_an_address_as_filecoin_writes_it(address, expected):
    assert filecoin_address(address, 314) == f"f{expected}"
    assert filecoin_address(address, 314159) == f"t{expected}"
    assert filecoin_address(address, 1337) is None


@pytest.mark.parametrize(
    ("amount", "chain_id", "text"),
    [
        (0, 314, "0.000000 FIL"),
        (1, 314, "0.000000000000000001 FIL"),
        (10**12, 314159, "0.000001 tFIL"),
        (1234 * 10**18, 314, "1,234.000000 FIL"),
    ],
)
def test_amounts_are_shown_in_fil(amount, chain_id, text):
    assert format_fil(amount, chain_id) == text

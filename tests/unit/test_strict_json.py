"""Untrusted JSON: `alithis.base.untrusted_json`."""

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alithis.base.untrusted_json import MAX_DEPTH, MAX_DIGITS, parse
from alithis.errors import FormatError


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"\xff{}", "not JSON"),
        (b'{"a": 1} trailing', "not JSON"),
        (b'{"a": 1, "a": 2}', "a key is repeated"),
        (b'{"a": {"b": 1, "b": 1}}', "a key is repeated"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1' + b"0" * 100_000 + b"}", "a number of 100001 digits"),
    ],
)
def test_parse_refuses_what_the_standard_leaves_open(data, said):
    with pytest.raises(FormatError, match=said) as raised:
        parse(data, "it")
    assert str(raised.value).startswith("it: ")
    assert "\n" not in str(raised.value)


def nested(depth, opening=b'{"a":', closing=b"}"):
    return opening * depth + b"1" + closing * depth


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_depth_is_bounded_whatever_the_recursion_limit(limit):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        assert parse(nested(MAX_DEPTH), "it")
        for data in (nested(MAX_DEPTH + 1), nested(200_000), nested(200_000, b"[", b"]")):
            with pytest.raises(FormatError, match="nested more than 32 deep"):
                parse(data, "it")
    finally:
        sys.setrecursionlimit(before)


def test_brackets_in_strings_do_not_count_as_nesting():
    assert parse(b'{"a": "' + b'[{\\"' * 100 + b'"}', "it")["a"] == '[{"' * 100


@example(-(10 ** (MAX_DIGITS - 1)))
@given(st.integers(-(10 ** (MAX_DIGITS - 1)), 10 ** (MAX_DIGITS - 1)))
def test_numbers_of_up_to_100_digits_are_read(number):
    assert parse(b'{"a": %d}' % number, "it") == {"a": number}

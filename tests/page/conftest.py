"""The page's tests: chromium, and Node for the parts that need no browser."""

from helpers.session import pytest_sessionfinish  # noqa: F401  # and Hypothesis' profiles

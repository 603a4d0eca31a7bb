"""Remote file systems, through fsspec: opening them, and removing secrets from their URLs."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from alithis.errors import MissingExtraError

_BUCKETS = ("s3", "s3a", "gs", "gcs")
_EXTRAS = {
    "http": ("aiohttp", "http"),
    "https": ("aiohttp", "http"),
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "hf": ("huggingface_hub", "hf"),
}


def shown_url(url: str) -> str:
    """Return a URL without its possible secrets: a password, a signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{re.split('[/?#]', rest)[0].rpartition('@')[2]}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def url_problem(url: str) -> str | None:
    """Return what is wrong with a URL as it is written, or None; nothing is contacted."""
    shown = shown_url(url)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"{shown}: is not a valid URL: {error}"
    if parts.scheme in ("http", "https") and not parts.hostname:
        return f"{shown}: has no host; write {parts.scheme}://HOST/PATH"
    if parts.scheme in _BUCKETS and not parts.netloc:
        return f"{shown}: has no bucket; write {parts.scheme}://BUCKET/PATH"
    return None


def open_file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it; fsspec finds the credentials.

    Raises:
        MissingExtraError: the library for URLs of this kind is not installed.
        Exception: an error of fsspec: it does not know the kind of URL, or finds no credentials.
    """
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        scheme = url.partition("://")[0]
        if scheme in _EXTRAS:
            raise MissingExtraError(*_EXTRAS[scheme]) from error
        raise
    return system, path

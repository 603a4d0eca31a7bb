"""Remote file systems, through fsspec: opening them, and removing secrets from their URLs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from alithis.errors import MissingExtraError

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
        return url.partition("://")[0] + "://…"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


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

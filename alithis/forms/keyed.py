"""Keyed leaves: digests → HMACs, for data that is private or can be guessed.

In the scheme ``keyed``, the leaf of a data point is HMAC-SHA-256(item key, digest). The item key is
HMAC-SHA-256(publisher's key, "alithis item key" ‖ digest) (RFC 2104; docs/format.md, "Leaves and
tree"). Without the publisher's key, a leaf reveals nothing about its data point. Two levels of keys
let a publisher prove one item: its item key and digest show its leaf, and nothing about others.

The publisher's key is never shown: no error message and no ``repr`` contains it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from alithis.base.files import flush, read_at, regular_file, sync_folder, write_errors
from alithis.errors import IntegrityError, SourceError
from alithis.forms.hashing import SIZE

# The message of the key check must never be that of an item key: they differ in length.
_ITEM = b"alithis item key"
_CHECK = b"alithis key check"
_BLOCK = 64  # bytes in a block of SHA-256
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_TEXT = re.compile(rb"([0-9a-f]{%d})\n?" % (2 * SIZE))


def leaf(item_key: bytes, digest: bytes) -> bytes:
    """Return the leaf for an item's key and digest: HMAC-SHA-256(item key, digest)."""
    return hmac.digest(item_key, digest, "sha256")


@dataclass(frozen=True, slots=True)
class PublisherKey:
    """The secret key with which a publisher makes leaves.

    Attributes:
        secret: 32 bytes; not shown in the ``repr``.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check the length: HMAC pads with zeros, so keys of two lengths could be equal."""
        if len(self.secret) != SIZE:
            raise SourceError(f"a publisher's key has {SIZE} bytes, not {len(self.secret)}")

    @property
    def check(self) -> bytes:
        """The value in the metadata that identifies this key without revealing it, 32 bytes."""
        return hmac.digest(self.secret, _CHECK, "sha256")

    def require(self, check: bytes | None) -> None:
        """Check that leaves were made with this key.

        Args:
            check: the key check in their metadata; None for plain digests.

        Raises:
            IntegrityError: they were made with another key, or without one.
        """
        if check is None or not hmac.compare_digest(self.check, check):
            raise IntegrityError(
                "the key file is not the one the leaves were made with: key check",
                expected=check or "none",
                found=self.check,
            )

    def item_key(self, digest: bytes) -> bytes:
        """Return the key of the item with a digest, 32 bytes."""
        return hmac.digest(self.secret, _ITEM + digest, "sha256")

    def leaf(self, digest: bytes) -> bytes:
        """Return the leaf of the item with a digest, 32 bytes."""
        return leaf(self.item_key(digest), digest)

    def leaves(self, digests: bytes) -> bytes:
        """Return the leaves of many items, as `leaf` does for each, in half the time.

        Args:
            digests: 32 bytes each, joined.
        """
        sha256, zeros = hashlib.sha256, bytes(_BLOCK - SIZE)
        # HMAC(k, m) = H((k ^ opad) ‖ H((k ^ ipad) ‖ m)) (RFC 2104). The blocks with the publisher's
        # key are the same for all items: they are hashed once, and the state is copied.
        inner = sha256((self.secret + zeros).translate(_INNER) + _ITEM)
        outer = sha256((self.secret + zeros).translate(_OUTER))
        result = bytearray()
        for start in range(0, len(digests), SIZE):
            digest = digests[start : start + SIZE]
            first, second = inner.copy(), outer.copy()
            first.update(digest)
            second.update(first.digest())
            key = second.digest() + zeros
            first = sha256(key.translate(_INNER) + digest)
            result += sha256(key.translate(_OUTER) + first.digest()).digest()
        return bytes(result)


def read_key(path: Path) -> PublisherKey:
    """Read a publisher's key from its file: 64 hexadecimal digits.

    Raises:
        SourceError: the file is missing or malformed, or other users may read it.
    """
    _require_name(path)
    with regular_file(path) as (handle, status):
        data = read_at(handle, 0, 2 * SIZE + 2, path)
    mode = stat.S_IMODE(status.st_mode)
    if os.name == "posix" and mode & 0o077:  # Windows uses access lists, and Python invents a mode
        raise SourceError(
            f"{path}: other users may read this key (mode {mode:03o}). Run chmod 600 on it. If "
            "somebody may have read it, make a new key"
        )
    found = _TEXT.fullmatch(data)
    if found is None:
        raise SourceError(f"{path}: not a key file: it must contain {2 * SIZE} hexadecimal digits")
    return PublisherKey(bytes.fromhex(found[1].decode()))


def obtain_key(path: Path) -> tuple[PublisherKey, bool]:
    """Read a publisher's key, or make one if the file does not exist.

    A new key is random, only its owner can read it, and it is on the disk before it is used: leaves
    whose key is lost could never be proved.

    Returns:
        The key, and whether it is new.

    Raises:
        SourceError: as `read_key` does, or the file cannot be written.
    """
    made = False
    _require_name(path)
    if not os.path.lexists(path):
        with write_errors(path):
            made = _make(path)
    return read_key(path), made


def _require_name(path: Path) -> None:
    """Refuse a key where the file's name is expected; the error does not repeat the key."""
    if re.fullmatch(rf"(0x)?[0-9a-fA-F]{{{2 * SIZE}}}", path.name):
        raise SourceError(
            f"the name of the key file has {2 * SIZE} hexadecimal digits, like a key. Give the "
            "name of a file. If this is your key, it is now in the shell's history: make a new one"
        )


def _make(path: Path) -> bool:
    """Write a new key file atomically; return False if another run has just made one."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            partial.chmod(0o600)  # the umask may have removed the owner's rights
            file.write(secrets.token_hex(SIZE).encode() + b"\n")
            flush(file)
        path.hardlink_to(partial)  # unlike a rename, a link never replaces a key
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True

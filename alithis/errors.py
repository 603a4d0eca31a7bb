"""The exception tree: every package raises these, front ends print their one line.

::

    AlithisError
    ├── SourceError            data that cannot be read, hashed or written
    │   └── ChangedError       a file changed while it was read
    ├── FormatError            a malformed manifest, proof or metadata
    │   └── VersionError       … or one of an unknown format version
    ├── IntegrityError         content that does not match its digest
    ├── ProofError             a Merkle proof that is not valid
    │   └── RootMismatchError  … because it leads to a different root
    ├── StorageError           a store that cannot be read or written
    │   └── NotStoredError     … or does not hold the content
    ├── RegistryError          a chain or registry without a usable answer
    │   ├── TransportError     no usable answer from the RPC endpoint
    │   │   └── RpcError       … but an error message
    │   │       └── RefusedError … the contract's own: it refuses the transaction
    │   ├── ChainError         another chain than expected
    │   ├── NoRegistryError    no Alithis registry at the address
    │   └── NoTokenError       no such token
    ├── MintError              a token that cannot be minted as asked
    └── MissingExtraError      an optional library is not installed

Every message is one line: what failed, where, and what to do if that is not obvious.
"""

from __future__ import annotations

from typing import Any


class AlithisError(Exception):
    """Base of all errors that Alithis raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, since constructors of subclasses do not take `args`.

        An error that cannot be unpickled breaks the pool of workers that it was raised in.
        """
        return _restored, (type(self), self.args, self.__dict__)


class SourceError(AlithisError):
    """Data cannot be read, hashed or written."""


class ChangedError(SourceError):
    """A file changed while it was read."""


class FormatError(AlithisError):
    """A manifest, proof or metadata document is not well-formed."""


class VersionError(FormatError):
    """A document states a format version that this release does not know."""


class IntegrityError(AlithisError):
    """Content does not match its digest, root or size.

    Attributes:
        expected: what the digest, root or size should be.
        found: what it is.
    """

    def __init__(self, what: str, *, expected: object, found: object) -> None:
        """Say what differs, what was expected and what was found."""
        super().__init__(f"{what}: expected {_show(expected)}, found {_show(found)}")
        self.expected = expected
        self.found = found


class ProofError(AlithisError):
    """A Merkle proof is not valid."""


class RootMismatchError(ProofError):
    """A Merkle path leads to a root that is not the committed one.

    Attributes:
        expected: the committed root, 32 bytes.
        calculated: the root the path leads to, 32 bytes.
    """

    def __init__(self, *, expected: bytes, calculated: bytes) -> None:
        """Keep both roots, and say them."""
        super().__init__(
            f"the path leads to root {calculated.hex()}, not to the committed {expected.hex()}"
        )
        self.expected = expected
        self.calculated = calculated


class StorageError(AlithisError):
    """A store cannot be read or written."""


class NotStoredError(StorageError):
    """A store does not hold the content asked for."""


class RegistryError(AlithisError):
    """A chain, or a registry on it, gives no usable answer."""


class TransportError(RegistryError):
    """The RPC endpoint gives no usable answer."""


class RpcError(TransportError):
    """The node answered, with an error.

    Attributes:
        code: the error's JSON-RPC code.
        data: what a call reverted with, 0x-prefixed hexadecimal, or None.
    """

    def __init__(self, message: str, *, code: int, data: str | None = None) -> None:
        """Keep the error's parts."""
        super().__init__(message)
        self.code = code
        self.data = data


class RefusedError(RpcError):
    """The contract refuses a transaction; the message has its error and the error's values."""


class ChainError(RegistryError):
    """The RPC endpoint serves another chain, or a local index is of another registry or chain."""


class NoRegistryError(RegistryError):
    """There is no Alithis registry at the address."""


class NoTokenError(RegistryError):
    """The registry holds no such token."""


class MintError(AlithisError):
    """A token cannot be minted as asked: a link, a signature or the balance is at fault."""


class MissingExtraError(AlithisError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        """Name the library, and the extra that brings it."""
        super().__init__(f"{library} is not installed: pip install 'alithis[{extra}]'")


def _restored(
    kind: type[AlithisError], args: tuple[Any, ...], state: dict[str, Any]
) -> AlithisError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _show(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)

"""The exception tree.

::

    AlithisError
    ├── SourceError            a file or array that cannot be hashed
    │   └── ChangedError       a file changed while it was read
    ├── FormatError            a manifest, proof or metadata that is not well-formed
    │   └── VersionError       … or of a format version we do not know
    ├── IntegrityError         content that is not what its digest says
    ├── ProofError             a Merkle proof that does not hold
    │   └── RootMismatchError  … because it leads to another root
    ├── StorageError           a store that cannot be read or written
    │   └── NotStoredError     … or does not hold the content
    ├── RegistryError          a chain, or a registry on it, that gives no usable answer
    │   ├── TransportError     no answer from the RPC endpoint, or none of use
    │   │   └── RpcError       … but an error
    │   │       └── RefusedError … the contract's own: it refuses the transaction
    │   ├── ChainError         another chain than the one expected
    │   ├── NoRegistryError    no Alithis registry at the address
    │   └── NoTokenError       no such token
    ├── MintError              a token that cannot be minted as asked
    └── MissingExtraError      an optional library is not installed

Every message is one line that says what is wrong, where, and, where it helps, what to do.
"""

from __future__ import annotations

from typing import Any


class AlithisError(Exception):
    """Base of all errors that Alithis raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: a subclass's constructor does not take what `args` holds.

        What cannot be unpickled, raised in a worker process, passes for a killed worker.
        """
        return _restored, (type(self), self.args, self.__dict__)


class SourceError(AlithisError):
    """A file or array cannot be read or hashed."""


class ChangedError(SourceError):
    """A file changed while it was read."""


class FormatError(AlithisError):
    """A manifest, proof or metadata document is not well-formed."""


class VersionError(FormatError):
    """A document states a format version that this release does not know."""


class IntegrityError(AlithisError):
    """Content differs from what its digest says.

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
    """A Merkle proof does not hold."""


class RootMismatchError(ProofError):
    """A path leads to another root than the committed one.

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
    """The RPC endpoint gives no answer, or none of use."""


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
    """The RPC endpoint serves another chain than the one expected."""


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

"""Signs a model's manifest in the format of OpenSSF model-signing.

The files are not hashed again: the manifest has the SHA-256 of each. `model_signing verify`
checks a folder with the files against the signature.

Source: model-signing 1.1, its payload (predicate ``https://model_signing/signature/v1.0``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from alithis.base.files import regular_file
from alithis.errors import FormatError, MissingExtraError, SourceError
from alithis.manifest.items import model_files
from alithis.manifest.reader import Manifest
from alithis.reports.in_toto import STATEMENT

PREDICATE = "https://model_signing/signature/v1.0"

_IGNORED = (".cache", ".git", ".gitattributes", ".github", ".gitignore")
"""Hidden files of model repositories, which a manifest leaves out."""


def statement(manifest: Manifest) -> dict[str, Any]:
    """Return the payload that is signed: a model's files as an in-toto statement.

    Raises:
        AlithisError: the model's files are not known; see `items.model_files`.
    """
    # model-signing sorts by path components, not by text; the subject's digest covers the order.
    files = sorted(model_files(manifest), key=lambda file: PurePosixPath(file.name))
    subject = hashlib.sha256(b"".join(file.digest for file in files)).hexdigest()
    return {
        "_type": STATEMENT,
        "subject": [{"name": manifest.metadata.name, "digest": {"sha256": subject}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(_IGNORED),
            },
            "resources": [
                {"name": file.name, "algorithm": "sha256", "digest": file.digest.hex()}
                for file in files
            ],
        },
    }


def signed(stated: Mapping[str, Any], key: Path) -> bytes:
    """Sign a statement with an elliptic-curve key.

    Args:
        stated: what `statement` returns.
        key: a PEM file with a private key on P-256, P-384 or P-521, not encrypted.

    Returns:
        A Sigstore bundle: the signature file that `model_signing verify key` takes.

    Raises:
        MissingExtraError: model-signing is not installed.
        SourceError: the key cannot be read.
        FormatError: the file has no such key.
    """
    try:
        from model_signing._signing import sign_ec_key, signing
    except ImportError as error:
        raise MissingExtraError("model-signing", "signing") from error
    with regular_file(key):  # a FIFO would be waited for; the library opens the path itself
        pass
    try:
        signer = sign_ec_key.Signer(key)
    except OSError as error:
        raise SourceError(f"{key}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{key}: is not an unencrypted elliptic-curve private key in PEM format"
        ) from error
    payload = signing.Payload(signing.dsse_payload_to_manifest(dict(stated)))
    bundle = signer.sign(payload)
    return _bytes(bundle)


def _bytes(bundle: Any) -> bytes:
    """Return a bundle's bytes; the library can only write it to a path."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.sig"
        bundle.write(path)
        return path.read_bytes()

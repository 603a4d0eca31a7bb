"""Writes what the page needs of the library into ``web/src/generated/``.

``contract.js`` has the contract's selectors, errors and topics: a browser has no Keccak-256, and
this page needs it for nothing else. ``terms.js`` has the words and limits that the library and the
page must agree on.

The files are committed, so that Node, tsc and `make page` need no Python. A test
(tests/test_generated.py) fails if they are not what this program writes.

Usage: python tools/generate_terms.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from eth_utils import keccak
from eth_utils.abi import abi_to_signature

from alithis.base import untrusted_json
from alithis.chain.contract import artifact
from alithis.chain.queries import DERIVES
from alithis.forms import form
from alithis.manifest import merkle, metadata, proof, terms, transcript
from alithis.storage import fallback

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "web" / "src" / "generated"

WORDS: Mapping[str, tuple[Sequence[str], str]] = {
    "KINDS": (tuple(terms.Kind), "What a token stands for; the contract writes the position."),
    "SCHEMES": (tuple(terms.Scheme), "How leaves are made from digests; likewise."),
    "RELATIONS": (tuple(terms.Relation), "How an artifact came from an older one; likewise."),
    "ANSWERS": (tuple(terms.ClaimStatus), "How a claim has been answered; likewise."),
    "GRADES": (tuple(terms.Grade), "How far a link is evidenced, from little to much."),
    "MADE_FROM": (DERIVES, "Relations by which an artifact was made out of an older one."),
    "TRANSCRIBED": (transcript.TRANSCRIBED, "Relations that can have a transcript."),
    "INPUT_RELATIONS": (transcript.RELATIONS, "Relations that an input of a model can have."),
    "FORMS": (form.FORMS, "The canonical forms."),
    "MODES": (form.MODES, "Modes of the form pixels."),
}
NUMBERS: Mapping[str, tuple[int, str]] = {
    "METADATA_VERSION": (metadata.VERSION, "Of the format of metadata.json."),
    "PROOF_VERSION": (proof.VERSION, "Of the format of proof files."),
    "TILE_HEIGHT": (merkle.TILE_HEIGHT, "Levels in a tile."),
    "TILE": (merkle.TILE, "Hashes in a tile."),
    "MAX_SIZE": (terms.MAX_SIZE, "Leaves of a tree."),
    "MAX_METADATA_BYTES": (terms.MAX_METADATA_BYTES, "Bytes of metadata.json."),
    "MAX_PROOF_BYTES": (terms.MAX_PROOF_BYTES, "Bytes of a proof file."),
    "MAX_PATH": (terms.MAX_PATH, "Hashes in a path of a proof file."),
    "MAX_FILES": (terms.MAX_FILES, "Entries of distribution in metadata.json."),
    "MAX_NAME": (terms.MAX_NAME, "Characters in an artifact's name."),
    "MAX_LINKS": (terms.MAX_LINKS, "Links of a token, and inputs in its metadata."),
    "MAX_TEXT_BYTES": (terms.MAX_TEXT_BYTES, "Bytes of a text or URI in an event."),
    "MAX_JSON_DEPTH": (untrusted_json.MAX_DEPTH, "Levels of nesting in JSON."),
    "MAX_JSON_DIGITS": (untrusted_json.MAX_DIGITS, "Digits of a whole number in JSON."),
    "MAX_GATEWAYS": (fallback.MAX_GATEWAYS, "Gateways that are asked."),
}


def contract_js() -> str:
    """Gives the text of contract.js."""
    signatures: dict[str, dict[str, str]] = {"function": {}, "error": {}, "event": {}}
    for entry in artifact()["abi"]:
        if entry["type"] in signatures:
            signature = abi_to_signature(entry)
            digest = keccak(text=signature).hex()
            signatures[entry["type"]][signature] = (
                digest if entry["type"] == "event" else digest[:8]
            )
    return _file(
        "alithis/chain/contract/Alithis.json",
        _constant("SELECTORS", signatures["function"], "The first four bytes of a call."),
        _constant("ERRORS", signatures["error"], "The first four bytes of a refusal."),
        _constant("TOPICS", signatures["event"], "The first topic of an event."),
        _constant("INTERFACE", artifact()["interfaceId"].removeprefix("0x"), "ERC-165's id."),
    )


def terms_js() -> str:
    """Gives the text of terms.js."""
    constants = [_constant(name, *each) for name, each in (WORDS | NUMBERS).items()]
    return _file("alithis/manifest/terms.py and the modules beside it", *constants)


def _file(source: str, *constants: str) -> str:
    head = f"/** Written by tools/generate_terms.py out of {source}: change it there. */\n"
    return "\n".join([head, *constants])


def _constant(name: str, value: Mapping[str, str] | Sequence[str] | int, comment: str) -> str:
    if isinstance(value, int | str):
        return f"/** {comment} */\nexport const {name} = {json.dumps(value)};\n"
    if isinstance(value, Mapping):
        entries = [f"  {json.dumps(key)}: {json.dumps(value[key])}," for key in sorted(value)]
        shown = "\n".join(["{", *entries, "}"])
    else:
        shown = json.dumps(list(value))
    # Without the cast TypeScript takes the words for any strings.
    return f"/** {comment} */\nexport const {name} = /** @type {{const}} */ ({shown});\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the files, or with --check says whether they are up to date."""
    parser = argparse.ArgumentParser(description="Writes the library's terms for the page.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if it is stale")
    args = parser.parse_args(arguments)
    status = 0
    for name, text in {"contract.js": contract_js(), "terms.js": terms_js()}.items():
        path = FOLDER / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if args.check:
            print(f"{name} is stale: run tools/generate_terms.py", file=sys.stderr)
            status = 1
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{name} written")
    return status


if __name__ == "__main__":
    sys.exit(main())

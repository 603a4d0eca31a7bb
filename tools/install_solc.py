"""Gives py-solc-x a ``solc`` without a download: npm's WebAssembly build behind a small script.

py-solc-x, and so Ape, looks for ``~/.solcx/solc-v<version>`` (or under ``$SOLCX_BINARY_PATH``)
before it downloads one. A native compiler found there is left alone. Otherwise this writes a
shell script that runs ``tools/solc.js`` in the first checkout on its list that still has that
version: checkouts share the script, and one that is moved or deleted drops out of it.

Usage: python tools/install_solc.py [--node PATH]   (after ``npm ci``; quick when nothing changed)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = "# alithis: npm's solc for py-solc-x; written by tools/install_solc.py"
TEMPLATE = """\
#!/bin/sh
{mark}
case " $* " in *" --version "*)
  echo "solc, the solidity compiler commandline interface"
  echo "Version: {full_version}"
  exit 0
esac
run() { # NODE CHECKOUT ARGUMENTS...
  node=$1 checkout=$2
  shift 2
  if [ -x "$node" ] && [ -f "$checkout/tools/solc.js" ] &&
    grep -qsF '"version": "{version}"' "$checkout/node_modules/solc/package.json"; then
    exec "$node" "$checkout/tools/solc.js" "$@"
  fi
}
{candidates}
echo "Error: $0: no checkout with solc {version} is left; run 'make setup' in one" >&2
exit 1
"""
CANDIDATE = re.compile(r"^run (?P<words>.+) \"\$@\"$", re.MULTILINE)
FULL_VERSION = re.compile(r'"Version: (?P<version>[^"]+)"')


class InstallError(Exception):
    """The compiler cannot be installed; the message says what to do."""


def installed_version(root: Path) -> str:
    """The version of the ``solc`` package under ``root``.

    Raises:
        InstallError: The package is not there.
    """
    package = root / "node_modules" / "solc" / "package.json"
    try:
        return str(json.loads(package.read_text(encoding="utf-8"))["version"])
    except FileNotFoundError:
        raise InstallError(f"{package} is missing: run 'npm ci' first") from None


def target_path(version: str) -> Path:
    """Where py-solc-x looks for that version of ``solc``."""
    folder = os.environ.get("SOLCX_BINARY_PATH") or Path.home() / ".solcx"
    return Path(folder) / f"solc-v{version}"


def is_ours(path: Path) -> bool:
    """Whether the file is a script of this tool, and not somebody's compiler."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(len(MARK) + 64)


def candidates(script: str) -> list[tuple[str, str]]:
    """The (node, checkout) pairs of a script of this tool, in the order it tries them."""
    found = (shlex.split(match["words"]) for match in CANDIDATE.finditer(script))
    return [(words[0], words[1]) for words in found if len(words) == 2]


def is_usable(node: str, checkout: str, version: str) -> bool:
    """Whether that pair can still compile with that version."""
    try:
        same = installed_version(Path(checkout)) == version
    except (InstallError, OSError, ValueError, KeyError):
        return False
    return same and os.access(node, os.X_OK) and (Path(checkout) / "tools" / "solc.js").is_file()


def full_version(node: str, root: Path) -> str:
    """The version with its commit, as the compiler itself states it (loads it: half a second)."""
    script = "process.stdout.write(require('solc').version())"
    answer = subprocess.run(  # noqa: S603 (a fixed command)
        [node, "-e", script], cwd=root, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InstallError(f"{root / 'node_modules' / 'solc'} does not run on {node}: {reason}")
    return answer.stdout


def render(version: str, full: str, pairs: list[tuple[str, str]]) -> str:
    """The script that answers ``--version`` and compiles in the first usable checkout."""
    lines = (f'run {shlex.quote(node)} {shlex.quote(root)} "$@"' for node, root in pairs)
    fields = {
        "mark": MARK,
        "full_version": full,
        "version": version,
        "candidates": "\n".join(lines),
    }
    return re.sub(r"\{(\w+)\}", lambda match: fields[match[1]], TEMPLATE)


def write_atomically(path: Path, text: str) -> None:
    """Writes an executable file that no reader ever sees half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        file.write(text)
    Path(file.name).chmod(0o755)
    Path(file.name).replace(path)


def install(root: Path, node: str) -> str:
    """Puts ``root`` first on the script's list, unless a native compiler is there already.

    Args:
        root: The checkout, with ``node_modules`` installed.
        node: Absolute path of a Node of version 20 or later.

    Returns:
        One line that says what is there now.

    Raises:
        InstallError: The package is missing or does not run.
    """
    version = installed_version(root)
    target = target_path(version)
    if target.exists() and not is_ours(target):
        return f"{target}: not written by Alithis, left alone"
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    own = (node, str(root))
    others = [pair for pair in candidates(before) if pair[1] != str(root)]
    pairs = [own, *(pair for pair in others if is_usable(*pair, version))]
    known = FULL_VERSION.search(before)
    after = render(version, known["version"] if known else full_version(node, root), pairs)
    if after != before or not os.access(target, os.X_OK):
        write_atomically(target, after)
    return f"{target}: npm's solc {version}"


def find_node() -> str:
    """Node of the checkout's environment, or else of the machine."""
    own = ROOT / ".venv" / "bin"
    node = shutil.which("node", path=own) or shutil.which("node")
    if node is None:
        raise InstallError("node is missing: run 'make setup', or install Node 20 or later")
    return node


def main() -> None:
    """Installs the compiler and says where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--node", help="the Node that runs the compiler")
    arguments = parser.parse_args()
    try:
        print(install(ROOT, arguments.node or find_node()))
    except (InstallError, OSError) as error:
        raise SystemExit(f"tools/install_solc.py: {error}") from None


if __name__ == "__main__":
    main()

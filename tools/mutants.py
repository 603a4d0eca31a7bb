"""Mutation testing of ``contracts/MerkleTree.sol``: whether its tests notice when it is wrong.

One operator, bound, constant or statement is changed at a time, the contract is compiled with
it, and ``tests/chain/test_contract_merkle.py`` must fail, or a limit of
``test_contract_gas.py``. Those few mutants that behave the same wherever they can run are named
below with the reason, and everything else must be killed.

Usage: python tools/mutants.py [--jobs N] [--list] [--only TEXT]   (`make mutants`)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from install_solc import installed_version, target_path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "contracts/MerkleTree.sol"
CONTRACT = "contracts/Alithis.sol"
TESTS = "tests/chain/test_contract_merkle.py"
QUICK = "one_by_one or TestPrecompile"
SELECTIONS = [
    [TESTS, "-k", QUICK],
    [TESTS, "-k", f"not ({QUICK})"],
    ["tests/chain/test_contract_gas.py", "-k", "within_its_limit"],
]
"""What must fail, quickest first: proofs, and the cost of verifying them."""
MUTANT = "ALITHIS_MUTANT"
"""Variable that names the file with a mutant's artifact, for the tests' process."""

OPERATORS = {
    ">=": (">", "<"),
    "<=": ("<", ">"),
    ">": (">=", "<"),
    "<": ("<=", ">"),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
    "+": ("-",),
    "-": ("+",),
    "<<": (">>",),
    ">>": ("<<",),
    "&": ("|",),
    "|": ("&", "^"),
    "^": ("|", "&"),
    "&=": ("|=",),
    "++": ("--",),
}
"""What stands between two values, and what is put in its place."""

CALLS = {
    "add": ("sub",),
    "sub": ("add",),
    "shl": ("shr",),
    "shr": ("shl",),
    "and": ("or",),
    "lt": ("gt",),
    "eq": ("lt", "gt"),
    "mstore8": ("mstore",),
}
"""The same for functions of Yul."""

WORDS = {
    "true": ("false",),
    "false": ("true",),
    "type(uint256).max": ("0",),
    "left": ("right",),
    "right": ("left",),
    "leftPath": ("rightPath",),
    "rightPath": ("leftPath",),
    "index": ("size",),
}
"""The same for names in expressions."""

_FIRST = "let ok := staticcall(gas(), 0x02, node, 0x21, 0x00, 0x20)"
_NEXT = "ok := and(ok, staticcall(gas(), 0x02, node, 0x41, 0x00, 0x20))"
_REVERT = "if iszero(and(ok, eq(returndatasize(), 0x20))) { revert(0x00, 0x00) }"
EQUIVALENT = {
    "_climb: mstore8(node, 0x00) -> mstore(node, 0x00)": "the leaf is written over the rest",
    f"_climb: {_FIRST} -> {_FIRST.replace('0x20)', '33)')}": "no more than 32 bytes come back",
    f"_climb: {_NEXT} -> {_NEXT.replace('0x20)', '33)')}": "no more than 32 bytes come back",
    f"_climb: {_REVERT} -> {_REVERT.replace('revert(0x00', 'revert(1')}": "nothing has no place",
}
"""Mutants that no test can tell from the original, and why."""


@dataclass(frozen=True)
class Mutant:
    """A change of the library's text.

    Attributes:
        line: Number of the changed line, from 1.
        before: What stands there.
        after: What is put in its place.
        text: The whole library with the change.
        function: The function it is in.
    """

    line: int
    before: str
    after: str
    text: str
    function: str

    @property
    def name(self) -> str:
        """What tells it from the others, without the line's number, which moves."""
        return f"{self.function}: {self.before} -> {self.after}"


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of the library's code: its comments, names and types stay."""
    function, inside = "", False
    lines = source.split("\n")
    for place, line in enumerate(lines):
        code = line.split("//")[0].rstrip()
        if started := re.match(r" +function (\w+)", code):
            function, inside = started[1], False
        if inside and code.strip(" {}"):
            for changed in dict.fromkeys(_changes(code)):
                text = "\n".join([*lines[:place], changed, *lines[place + 1 :]])
                yield Mutant(place + 1, code.strip(), changed.strip(), text, function)
        if function and code.endswith("{"):
            inside = True


def _changes(code: str) -> Iterator[str]:
    for found in re.finditer(r"(?<=\s)[-+<>=!&|^]+(?=\s)|\+\+(?=\w)", code):
        yield from _replaced(code, found, OPERATORS.get(found[0], ()))
    for found in re.finditer(r"\b\w+(?=\()", code):
        yield from _replaced(code, found, CALLS.get(found[0], ()))
    for word, others in WORDS.items():
        for found in re.finditer(rf"(?<![\w.]){re.escape(word)}(?![\w.(])", code):
            yield from _replaced(code, found, others)
    for found in re.finditer(r"\b(?:0x[0-9a-f]+|\d+)\b", code):
        number = int(found[0], 0)
        others = (number + 1, number - 1)
        yield from _replaced(code, found, [str(other) for other in others if other >= 0])
    for found in re.finditer(r"!(?=\w)", code):
        yield from _replaced(code, found, [""])
    for found in re.finditer(r"\biszero\(", code):
        yield from _replaced(code, found, ["and(1, "])
    if condition := re.search(r"\bif \((.+)\) return", code):
        for constant in ("true", "false"):
            yield code[: condition.start(1)] + constant + code[condition.end(1) :]
    statement = code.strip()
    if statement.endswith(";") and not statement.startswith("return"):
        yield ""
    if re.match(r"(?:mstore|ok :=|sides :=|if iszero)", statement):  # Yul has no semicolons
        yield ""
    if statement.startswith("let ok"):
        yield "let ok := 1"


def _replaced(code: str, found: re.Match[str], others: Any) -> Iterator[str]:
    for other in others:
        yield code[: found.start()] + other + code[found.end() :]


def compile_contract(library: str, node: str) -> str | None:
    """The contract's creation code with another library, or None where it does not compile."""
    sources = {
        path: {"content": (ROOT / path).read_text(encoding="utf-8")}
        for path in (CONTRACT, "contracts/IAlithis.sol")
    }
    settings = {
        "evmVersion": "cancun",
        "optimizer": {"enabled": True, "runs": 200},
        "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
        "outputSelection": {CONTRACT: {"Alithis": ["evm.bytecode.object"]}},
    }
    document = {
        "language": "Solidity",
        "sources": sources | {LIBRARY: {"content": library}},
        "settings": settings,
    }
    answer = subprocess.run(  # noqa: S603 (the pinned compiler)
        [node, "--standard-json"],
        input=json.dumps(document),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    contracts = json.loads(answer.stdout).get("contracts", {})
    if CONTRACT not in contracts:
        return None
    code: str = contracts[CONTRACT]["Alithis"]["evm"]["bytecode"]["object"]
    return f"0x{code}"


def survives(bytecode: str) -> bool:
    """Whether the tests pass on a contract that was compiled to this."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bytecode"
        file.write_text(bytecode, encoding="utf-8")
        return all(_passes(file, selection) for selection in SELECTIONS)


def _passes(bytecode: Path, selection: list[str]) -> bool:
    ape = Path(sysconfig.get_path("scripts")) / "ape"
    here = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    options = ["-x", "-q", "-p", "mutants", "-p", "no:cacheprovider"]
    command = [ape, "test", *options, *selection]
    ended = subprocess.run(  # noqa: S603 (the project's own tests)
        command,
        cwd=ROOT,
        env={**os.environ, MUTANT: str(bytecode), "PYTHONPATH": here},
        capture_output=True,
        check=False,
        timeout=1800,
    )
    if ended.returncode not in (0, 1):
        raise SystemExit(f"the tests did not run:\n{ended.stdout.decode()}{ended.stderr.decode()}")
    return ended.returncode == 0


def pytest_configure() -> None:
    """In the tests' process: the contract is the mutant, and a failure is not made smaller."""
    from hypothesis import Phase, settings

    from alithis.chain import contract

    bytecode = Path(os.environ[MUTANT]).read_text(encoding="utf-8")
    mutated = {**contract.artifact(), "bytecode": bytecode}
    contract.artifact = lambda: mutated  # type: ignore[assignment]
    settings.register_profile(
        "mutants", phases=[Phase.explicit, Phase.generate], database=None, derandomize=True
    )
    settings.load_profile("mutants")


def judge(mutant: Mutant, node: str) -> str:
    """Compiles and tests a mutant: ``killed``, ``survived`` or ``does not compile``."""
    bytecode = compile_contract(mutant.text, node)
    if bytecode is None:
        return "does not compile"
    return "survived" if survives(bytecode) else "killed"


def main() -> int:
    """Judges every mutant; fails if one survives that is not known to be equivalent."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print the mutants, judge none")
    parser.add_argument("--only", default="", help="judge those whose name has this text in it")
    options = parser.parse_args()
    source = (ROOT / LIBRARY).read_text(encoding="utf-8")
    chosen = [each for each in mutants(source) if options.only in each.name]
    if options.list:
        print(*(f"{each.line:4} {each.name}" for each in chosen), sep="\n")
        return 0
    node = str(target_path(installed_version(ROOT)))
    original = compile_contract(source, node)
    if original is None or not survives(original):
        raise SystemExit("tools/mutants.py: the tests fail on the library as it is")
    return report(chosen, node, options.jobs)


def report(chosen: list[Mutant], node: str, jobs: int) -> int:
    """Judges mutants side by side, and prints a line for each that lives, then the count."""
    counts = dict.fromkeys(("killed", "equivalent", "survived", "does not compile"), 0)
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, verdict in zip(
            chosen, pool.map(lambda each: judge(each, node), chosen), strict=True
        ):
            if verdict == "survived" and mutant.name in EQUIVALENT:
                verdict = "equivalent"
            counts[verdict] += 1
            if sys.stderr.isatty():
                print(f"{sum(counts.values())} of {len(chosen)}", end="\r", file=sys.stderr)
            if verdict in ("survived", "equivalent"):
                print(f"{verdict}: {LIBRARY}:{mutant.line}: {mutant.name}", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())

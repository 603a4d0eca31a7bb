"""Mutation testing of the code that proofs rest on: whether the tests notice a fault in it.

One operator, constant, condition or statement of a module is changed at a time, in a copy of the
checkout, and the module's tests must fail. Of each function the same share of its mutants is
judged. They are picked by their names alone, and a name holds no path and no line: a function
that moves to another file of its group keeps its mutants, and two runs can be compared.

Usage: python tools/mutants_python.py [--share PART] [--only TEXT] [--list] [--out FILE]
[--compare FILE] [--config FILE] [--root FOLDER]   (`make mutants-python`)
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GROUPS: dict[str, dict[str, Any]] = {
    "merkle": {"modules": ["alithis/manifest/merkle.py"], "tests": [["tests/unit/test_merkle.py"]]},
    "proof": {
        "modules": ["alithis/manifest/proof.py"],
        "tests": [
            ["tests/unit/test_proof.py"],
            ["tests/unit/test_keyed.py", "-k", "Opening or Proofs"],
        ],
    },
    "keyed": {"modules": ["alithis/forms/keyed.py"], "tests": [["tests/unit/test_keyed.py"]]},
    "forms": {
        "modules": ["alithis/forms/*.py"],
        "tests": [
            ["tests/unit/test_digest.py", "-k", "not Pool and not Orphans"],
            ["tests/unit/test_digest.py", "-k", "Pool or Orphans"],
        ],
    },
    "verify": {
        "modules": ["alithis/verify/*.py"],
        "tests": [
            ["tests/unit/test_verifier.py"],
            ["tests/unit/test_grade.py"],
            ["tests/unit/test_reference.py"],
        ],
    },
}
"""What is mutated, and the tests that must notice, quickest first.

A module that two groups name is the first one's.
"""

EXAMPLES = 25
"""Hypothesis's examples a test."""
MEMORY = 6 << 30
"""Bytes of address space that a mutant may take."""
QUIET = ["-x", "-q", "--tb=no", "-p", "mutants_python", "-p", "no:cacheprovider"]

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
}
"""What stands between two values, and what is put in its place."""

CALLS = {"min": "max", "max": "min", "all": "any", "any": "all"}
SKIPPED = {"annotation", "returns", "decorator_list", "bases", "type_params", "exc", "msg"}
"""Fields that are left alone: types, decorators and the words of errors."""


@dataclass(frozen=True)
class Mutant:
    """A change of one place in a module.

    Attributes:
        name: group, function, change and its number in the function.
        group: the group.
        path: the module's file, relative to the checkout.
        line: number of the changed line, from 1.
        module: the whole module, unchanged.
        holder: the node, or the list of nodes, that holds what is changed.
        slot: its field or index there.
        new: what is put in its place.
    """

    name: str
    group: str
    path: str
    line: int
    module: ast.Module
    holder: Any
    slot: str | int
    new: ast.AST

    def text(self) -> str:
        """Return the whole module with the change."""
        old = _put(self.holder, self.slot, self.new)
        try:
            return ast.unparse(self.module) + "\n"
        finally:
            _put(self.holder, self.slot, old)


def _put(holder: Any, slot: str | int, new: Any) -> Any:
    if isinstance(slot, int):
        old, holder[slot] = holder[slot], new
    else:
        old = getattr(holder, slot)
        setattr(holder, slot, new)
    return old


def mutants(root: Path, groups: dict[str, dict[str, Any]]) -> Iterator[Mutant]:
    """Every mutant of every module."""
    taken: set[Path] = set()
    for group, stated in groups.items():
        seen: Counter[str] = Counter()
        found = {file for glob in stated["modules"] for file in root.glob(glob)}
        files = sorted(found - taken)
        taken |= found
        if not files:
            raise SystemExit(f"{group}: there is none of {', '.join(stated['modules'])}")
        for file in files:
            module = ast.parse(file.read_text(encoding="utf-8"))
            for where, change, line, holder, slot, new in _places(module, ""):
                name = f"{group}: {where or 'module'}: {change}"
                seen[name] += 1
                path = str(file.relative_to(root))
                numbered = f"{name} #{seen[name]}"
                yield Mutant(numbered, group, path, line, module, holder, slot, new)


def _places(node: ast.AST, where: str) -> Iterator[tuple[str, str, int, Any, str | int, ast.AST]]:
    """Below a node: the function, the change, its line, and what is put where."""
    for holder, slot, child in _children(node):
        inner = where
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = f"{where}.{child.name}".strip(".")
        elif isinstance(child, ast.Assign | ast.AnnAssign) and not where:
            inner = ast.unparse(child.targets[0] if isinstance(child, ast.Assign) else child.target)
        for change, new in _changes(child):
            yield inner, change, getattr(child, "lineno", 0), holder, slot, new
        yield from _places(child, inner)


def _children(node: ast.AST) -> Iterator[tuple[Any, str | int, ast.AST]]:
    """What is mutated below a node, with its holder and its place there."""
    if isinstance(node, ast.Call) and re.search(r"(Error|_fail|TypeVar)$", ast.unparse(node.func)):
        return
    for field, value in ast.iter_fields(node):
        places: list[tuple[Any, str | int, Any]] = [(node, field, value)]
        if isinstance(value, list):
            places = [(value, place, each) for place, each in enumerate(value)]
        for holder, slot, child in places:
            if field not in SKIPPED and isinstance(child, ast.AST) and not _is_idle(child, node):
                yield holder, slot, child


def _is_idle(node: ast.AST, parent: ast.AST) -> bool:
    """Tell imports, f-strings, docstrings and types, where there is nothing to mutate."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.BinOp) and isinstance(parent, ast.Assign):
        return re.fullmatch(r"[A-Za-z]+( \| [A-Za-z]+)+", ast.unparse(node)) is not None
    return isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What can be put in a node's place, and how that is called."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        for other in OPERATORS.get(type(node.op), ()):
            yield _named(node.op, other), _with(node, op=other())
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in OPERATORS[type(operator)]:
                ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield _named(operator, other), _with(node, ops=ops)
    if isinstance(node, ast.UnaryOp):
        yield f"no {type(node.op).__name__}", node.operand
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        for value in (False,) if isinstance(node, ast.While) else (True, False):
            change = f"{type(node).__name__.lower()} {value}"
            yield change, _with(node, test=ast.Constant(value))
    if isinstance(node, ast.comprehension):
        for place in range(len(node.ifs)):
            yield "no filter", _with(node, ifs=node.ifs[:place] + node.ifs[place + 1 :])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        other_name = CALLS[node.func.id]
        yield f"{node.func.id} -> {other_name}", _with(node, func=ast.Name(other_name))
    if isinstance(node, ast.Raise | ast.AugAssign | ast.Delete):
        yield f"no {type(node).__name__}", ast.Pass()
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield f"no {ast.unparse(node.value.func).split('.')[-1]}()", ast.Pass()
    if isinstance(node, ast.Constant):
        for value in _values(node.value):
            yield f"{node.value!r:.40} -> {value!r:.40}", ast.Constant(value)


def _values(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1]
    if isinstance(value, str):
        return [value + "X"]
    if isinstance(value, bytes):
        return [value + b"X"]
    return []


def _named(old: ast.AST, new: type[ast.AST]) -> str:
    return f"{type(old).__name__} -> {new.__name__}"


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def sample(every: list[Mutant], share: float) -> set[str]:
    """Name a share of each function's mutants, at least one: those whose names hash lowest."""
    functions: dict[str, list[Mutant]] = {}
    for mutant in every:
        function = ":".join(mutant.name.split(":", 2)[:2])
        functions.setdefault(function, []).append(mutant)
    chosen: set[str] = set()
    for some in functions.values():
        ranked = sorted(some, key=lambda each: hashlib.sha256(each.name.encode()).digest())
        chosen |= {each.name for each in ranked[: max(1, round(len(some) * share))]}
    return chosen


class Bench:
    """A copy of the checkout in which mutants are tested; a context manager."""

    def __init__(self, root: Path, groups: dict[str, dict[str, Any]]) -> None:
        """Copy what Git knows of, and what it would add."""
        self._groups = groups
        self._folder = Path(tempfile.mkdtemp(prefix="alithis-mutants-"))
        self._limits: dict[str, float] = {}
        self._written = 0
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)  # noqa: S603
        for name in filter(None, listed.stdout.split("\0")):
            if (root / name).is_file() and not (root / name).is_symlink():
                (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, self._folder / name)
        if (root / "node_modules").exists():
            (self._folder / "node_modules").symlink_to((root / "node_modules").resolve())

    def __enter__(self) -> Bench:
        """Return the copy."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the copy."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def check(self, group: str) -> float:
        """See that a group's tests pass on the modules as they are; return the seconds it takes."""
        begun = time.monotonic()
        verdict, by = self._run(group, 900)
        if verdict != "survived":
            raise SystemExit(f"{group}: the tests fail on the modules as they are: {by}")
        taken = time.monotonic() - begun
        self._limits[group] = 30 + 4 * taken
        return taken

    def judge(self, mutant: Mutant) -> tuple[str, str]:
        """Test a mutant: ``killed``, ``survived`` or ``timeout``, and the test that killed it."""
        original = (self._folder / mutant.path).read_text(encoding="utf-8")
        self._write(mutant.path, mutant.text())
        try:
            return self._run(mutant.group, self._limits[mutant.group])
        finally:
            self._write(mutant.path, original)

    def _write(self, name: str, text: str) -> None:
        """Write a module with a time of its own, or else Python may take a compiled one for it."""
        self._written += 1
        (self._folder / name).write_text(text, encoding="utf-8")
        os.utime(self._folder / name, (self._written, self._written))

    def _run(self, group: str, limit: float) -> tuple[str, str]:
        for selection in self._groups[group]["tests"]:
            verdict, by = self._test(selection, limit)
            if verdict != "survived":
                return verdict, by
        return "survived", ""

    def _test(self, selection: list[str], limit: float) -> tuple[str, str]:
        here = [str(self._folder), str(Path(__file__).resolve().parent)]
        settings = {"PYTHONPATH": os.pathsep.join(here)}
        settings |= {"APE_DATA_FOLDER": str(self._folder / ".ape")}
        settings |= {"ALITHIS_GATEWAYS": "none", "ALITHIS_CACHE": "none"}
        settings["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        process = subprocess.Popen(  # noqa: S603 (the project's own tests)
            [sys.executable, "-m", "pytest", *QUIET, *selection],
            cwd=self._folder,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return "timeout", ""
        finally:
            _end(process)
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        by = failed[1] if failed else f"status {process.returncode}: {said.strip()[-300:]}"
        return ("killed", by) if process.returncode else ("survived", "")


def _end(process: subprocess.Popen[str]) -> None:
    """End the tests with all workers that they left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def pytest_configure() -> None:
    """In the tests' process: few examples, ever the same, and not all of the memory."""
    import resource

    from hypothesis import HealthCheck, Phase, settings

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    settings.register_profile(
        "mutants",
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate],
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutants")


def compare(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> int:
    """Print what was killed in two runs, of the mutants in both; count what is killed no more."""
    old = {each["name"]: each for each in before}
    both = [each for each in after if each["name"] in old]
    lost = [each for each in both if _dead(old[each["name"]]) and not _dead(each)]
    for group in dict.fromkeys(each["group"] for each in before + after):
        same = [each for each in both if each["group"] == group]
        gone = sum(each["group"] == group for each in before) - len(same)
        new = sum(each["group"] == group for each in after) - len(same)
        killed = [sum(_dead(old[each["name"]]) for each in same), sum(map(_dead, same))]
        print(
            f"{group}: of {len(same)} mutants {killed[0]} were killed before, {killed[1]} are now; "
            f"{gone} are no more, {new} are new"
        )
    for each in lost:
        print(f"killed no more: {each['path']}:{each['line']}: {each['name']}")
    return len(lost)


def _dead(result: dict[str, Any]) -> bool:
    return bool(result["verdict"] != "survived")


def main() -> int:
    """Judges the sample; with ``--compare``, fails if a mutant lives that was killed before."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=0.25, help="part of a function's mutants")
    parser.add_argument("--only", default="", help="judge those whose name has this text in it")
    parser.add_argument("--list", action="store_true", help="print the mutants, judge none")
    parser.add_argument(
        "--out", type=Path, help="keep the results here; what it has is not judged again"
    )
    parser.add_argument("--compare", type=Path, help="the results of a run before")
    parser.add_argument("--config", type=Path, help="JSON in place of the groups in this file")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    options = parser.parse_args()
    groups = json.loads(options.config.read_text("utf-8")) if options.config else GROUPS
    before = json.loads(options.compare.read_text("utf-8")) if options.compare else []
    every = list(mutants(options.root, groups))
    names = sample(every, options.share) | {each["name"] for each in before}
    chosen = [each for each in every if each.name in names and options.only in each.name]
    if options.list:
        print(*(f"{each.path}:{each.line}: {each.name}" for each in chosen), sep="\n")
        print(f"{len(chosen)} of {len(every)}")
        return 0
    results = report(options.root, groups, chosen, options.out)
    before = [each for each in before if options.only in each["name"]]
    return 1 if before and compare(before, results) else 0


def report(
    root: Path, groups: dict[str, dict[str, Any]], chosen: list[Mutant], out: Path | None
) -> list[dict[str, Any]]:
    """Judges mutants one by one; prints a line for each that lives, then the counts."""
    results: list[dict[str, Any]] = (
        json.loads(out.read_text("utf-8")) if out and out.exists() else []
    )
    known = {each["name"] for each in results}
    todo = [each for each in chosen if each.name not in known]
    with Bench(root, groups) as bench:
        for group in dict.fromkeys(each.group for each in todo):
            print(f"{group}: tests take {bench.check(group):.0f} s", flush=True)
        for mutant in todo:
            begun = time.monotonic()
            verdict, by = bench.judge(mutant)
            told = {"verdict": verdict, "by": by, "seconds": round(time.monotonic() - begun, 1)}
            place = {"group": mutant.group, "path": mutant.path, "line": mutant.line}
            results.append({"name": mutant.name, **place, **told})
            if verdict != "killed":
                print(f"{verdict}: {mutant.path}:{mutant.line}: {mutant.name}", flush=True)
            if out:
                out.write_text(json.dumps(results, indent=1, ensure_ascii=False), "utf-8")
    for path in dict.fromkeys(each["path"] for each in results):
        counts = Counter(each["verdict"] for each in results if each["path"] == path)
        print(f"{path}: {counts.total()} mutants: {dict(counts)}")
    return results


if __name__ == "__main__":
    sys.exit(main())

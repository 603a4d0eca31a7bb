#!/usr/bin/env bash
# Builds the wheel and runs the command from it where there is no checkout, no Ape and NumPy 2.
#
# Usage: tools/check_wheel.sh PYTHON
set -euo pipefail

python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() { # STATUS COMMAND...
  local expected=$1 status=0
  shift
  "$@" >"$work/output" 2>&1 || status=$?
  if [ "$status" -ne "$expected" ]; then
    echo "check_wheel: '$*' ended with $status, not $expected:" >&2
    cat "$work/output" >&2
    exit 1
  fi
}

# A copy, so that nothing is built inside the checkout.
mkdir "$work/source" "$work/data"
tar -C "$root" --exclude=__pycache__ -cf - \
  pyproject.toml README.md LICENSE ape_geth.py alithis | tar -C "$work/source" -xf -
"$python" -m pip wheel --quiet --no-deps -w "$work" "$work/source"
"$python" -m venv "$work/venv"
bin=$work/venv/bin
"$bin/python" -m pip install --quiet --disable-pip-version-check "$work"/alithis-*.whl 'numpy>=2'

cd "$work"
expect 1 "$bin/python" -c 'import ape'
expect 0 "$bin/alithis" --help
for name in one two three; do echo "$name" >"data/$name"; done
expect 0 "$bin/alithis" manifest data -o data.alithis
expect 0 "$bin/alithis" audit data.alithis
expect 0 "$bin/alithis" verify data/two --manifest data.alithis
echo four >four
expect 1 "$bin/alithis" verify four --manifest data.alithis
expect 2 "$bin/alithis" verify missing --manifest data.alithis
for file in web/index.html server/openapi.json reports/templates/html.j2; do
  expect 0 "$bin/python" -c 'import alithis, pathlib, sys
sys.exit(not (pathlib.Path(alithis.__file__).parent / sys.argv[1]).is_file())' "$file"
done
expect 0 "$bin/python" -c 'from alithis.chain.contract import artifact; artifact()["bytecode"]'
echo "The wheel works on $("$bin/python" -c 'import sys, numpy as n
print("Python", sys.version.split()[0], "with NumPy", n.__version__)')"

#!/bin/sh
# Runs every test. KEYREEVE_REQUIRE names the suites that must run ("moto,browser"): one that cannot is then a failure.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${KEYREEVE_PYTHON:-}" ] && [ -x .cache/venv/bin/python ]; then
    KEYREEVE_PYTHON="$PWD/.cache/venv/bin/python"
    export KEYREEVE_PYTHON
fi
exec "${GO:-go}" test -count=1 ./...

#!/bin/sh
# The race detector over the packages that run goroutines.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${KEYREEVE_PYTHON:-}" ] && [ -x .cache/venv/bin/python ]; then
    KEYREEVE_PYTHON="$PWD/.cache/venv/bin/python"
    export KEYREEVE_PYTHON
fi
exec "${GO:-go}" test -race -count=1 ./internal/credreport ./internal/collect ./internal/audit ./internal/awsiam ./internal/fakeaws/... ./internal/rule ./internal/cli

#!/bin/sh
# The figures of the README. Every ratio compares two programs in the same run, in pairs.
set -eu
cd "$(dirname "$0")/.."
mkdir -p bin
. scripts/env.sh
"${GO:-go}" build -o bin/bench ./scripts/bench
echo "== offline: a synthetic report against a plain encoding/csv loop"
./bin/bench bin/keyreeve
echo "== parser alone"
"${GO:-go}" test ./internal/credreport -run '^$' -bench . -benchtime 3x | grep -E '^Benchmark|rows'
echo "== live, 1,000 users"
"${GO:-go}" test ./internal/audit -run '^$' -bench Live -benchtime 1x | grep -E '^Benchmark|bench_test'
echo "== rotation: a look at one of 1,000 in flight, ledger on disk included"
"${GO:-go}" test ./internal/rotate -run '^$' -bench Tick -benchtime 3000x -benchmem | grep -E '^Benchmark'

#!/bin/sh
# Kills the real process at every point of every command, and then at random moments: KEYREEVE_CRASH kills or more
# (default 2000). KEYREEVE_CRASH_SEED draws others; default: the date, which the last line tells.
set -eu
cd "$(dirname "$0")/.."
: "${KEYREEVE_CRASH:=2000}" "${KEYREEVE_CRASH_SEED:=$(date +%Y%m%d)}"
export KEYREEVE_CRASH KEYREEVE_CRASH_SEED
exec "${GO:-go}" test -count=1 -timeout 30m -v -run '^TestCrash_' ./internal/cli

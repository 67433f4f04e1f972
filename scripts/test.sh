#!/bin/sh
# Runs every test. KEYREEVE_REQUIRE names the suites that must run ("moto,awscli,browser,postgres"): one that cannot is then a failure.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh
exec "${GO:-go}" test -count=1 -timeout 20m ./...

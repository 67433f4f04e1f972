#!/bin/sh
# The race detector over the packages that run goroutines. What starts processes or moto is left to make test: there the
# detector sees nothing and takes minutes.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh
exec "${GO:-go}" test -race -count=1 -timeout 20m -skip '^TestCrash|^TestMoto|^TestTwice|^TestRotation_twoRunners' ./internal/credreport ./internal/collect ./internal/audit ./internal/awsiam ./internal/fakeaws/... ./internal/rule ./internal/plan ./internal/apply ./internal/rotate ./internal/courier ./internal/seal ./internal/spool ./internal/daemon ./internal/notice ./internal/channel ./internal/store ./internal/fleet ./internal/metric ./internal/web ./internal/cli

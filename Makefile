# keyreeve. `make` alone lists what can be made.

GO       ?= go
BIN      := bin/keyreeve
CACHE    := $(CURDIR)/.cache
VERSION  := $(shell cat VERSION)
LDFLAGS  := -s -w -X github.com/keyreeve/keyreeve/internal/cli.release=$(VERSION)
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
LINT_VER := v2.15.0
SOURCES  := $(shell find cmd internal -name '*.go' -o -path '*/rulesets/*' -o -path '*/pages/*' -o -path '*/page/*' -o -path '*/template/*' -o -path '*/schema/*' -o -path '*/data/*' -o -name openapi.json) go.mod go.sum VERSION

.DEFAULT_GOAL := help
.PHONY: help build demo test check lint generate golden bench bench-org bench-fleet fuzz crash release clean setup

help: ## list what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BIN) ## build bin/keyreeve

$(BIN): $(SOURCES)
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/keyreeve

demo: $(BIN) ## build, then audit a built-in company: no AWS account needed
	$(BIN) demo

setup: ## set up what the tests need, saying what it installs
	@sh scripts/setup.sh

test: setup ## run every test
	@sh scripts/test.sh

check: lint ## format, vet, lint, layers, generated files up to date
	@test -z "$$(gofmt -l cmd internal *.go)" || { echo "not gofmt-clean:"; gofmt -l cmd internal *.go; exit 1; }
	$(GO) vet ./...
	$(GO) test -count=1 -run 'TestLayers|TestGenerated' .
	@$(GO) mod verify >/dev/null && echo "modules verified"

lint: $(CACHE)/bin/golangci-lint
	$(CACHE)/bin/golangci-lint run ./...

$(CACHE)/bin/golangci-lint: Makefile
	@echo "installing golangci-lint $(LINT_VER) into .cache/bin (a few minutes the first time)"
	@mkdir -p $(CACHE)/bin
	GOBIN=$(CACHE)/bin $(GO) install $(LINT)@$(LINT_VER)
	@touch $@

generate: ## write docs/, the schemas and examples/ anew from the code
	$(GO) test -count=1 -run 'TestGenerated' . -update

golden: ## write golden files anew; then read the diff
	$(GO) test -count=1 ./internal/report ./internal/credreport ./internal/role ./internal/web ./internal/metric ./internal/cli -run 'Golden|Script|saysWhatIsWrong|isWhatTheDocumentMakes' -update
	git --no-pager diff --stat

bench: $(BIN) ## the figures of the README, as ratios to a baseline in the same run
	@sh scripts/bench.sh

bench-org: $(BIN) ## the figures of an organisation of 10,000 accounts, each with its aim (ten minutes; ORG='-accounts 500' less)
	@$(GO) build -o bin/simorg ./scripts/simorg
	@$(GO) build -o bin/bench-org ./scripts/bench-org
	@bin/bench-org $(ORG) bin/keyreeve bin/simorg

bench-fleet: ## the same accounts by 1, 2 and 4 machines on one PostgreSQL: how many times as fast (minutes)
	$(GO) test ./internal/fleet -run '^$$' -bench Fleet -benchtime 1x

# Goroutines make the coverage of one input vary, so minimising would take all the time.
fuzz: ## fuzz everything that is parsed or escaped: credential reports for a minute, the rest for half of one each
	$(GO) test ./internal/credreport -run '^$$' -fuzz '^FuzzReport$$' -fuzztime 60s -fuzzminimizetime 1x
	$(GO) test ./internal/plan -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime 30s -fuzzminimizetime 1x
	$(GO) test ./internal/journal -run '^$$' -fuzz '^FuzzDecodeExport$$' -fuzztime 30s -fuzzminimizetime 1x
	$(GO) test ./internal/notice -run '^$$' -fuzz '^FuzzMessage$$' -fuzztime 30s -fuzzminimizetime 1x
	$(GO) test ./internal/channel -run '^$$' -fuzz '^FuzzHooks$$' -fuzztime 30s -fuzzminimizetime 1x

crash: ## kill apply and undo 2,000 times, restart them, compare account and journal (minutes)
	@sh scripts/crash.sh

release: ## stripped binaries for Linux, macOS and Windows under bin/release
	@sh scripts/release.sh '$(LDFLAGS)'

clean: ## remove what was built
	rm -rf bin .cache keyreeve-demo.html

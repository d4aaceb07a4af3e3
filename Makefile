# `make` lists the targets; `make test` needs nothing but Go.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
SEED        ?= 1
DURATION    ?= 8h
RUNS        ?= 3
FOR         ?= 2m
SEEDS       ?= 2000
SWARMS      ?= 500
BENCH       ?= .
PORT        ?= 24800
ABUSEPORT   ?= 28300
ONLY        ?=
OUT         ?= bin/holdfast
DISK        ?= /var/tmp

# The same source makes the same bytes, whoever builds it and in which folder:
# no paths in it, nothing that a C compiler made. make reproducible checks it.
RELEASE := CGO_ENABLED=0 go build -trimpath

.DEFAULT_GOAL := help
.PHONY: help build reproducible test check race-simulation adapters-test browser-test bench cost fuzz resp-diff bench-resp bench-disk abuse abuse-short chaos chaos-selftest explore soak soak-sim router-vectors bench-router client-tests failover-clients

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

build: ## build bin/holdfast, or OUT=path
	$(RELEASE) -o $(OUT) ./cmd/holdfast

# Without the stamp of the version control, which a copy does not have.
reproducible: ## build in two folders, and compare what comes out byte for byte
	@set -e; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	for folder in one another/folder; do \
		mkdir -p "$$work/$$folder"; \
		tar -cf - --exclude=./.git --exclude=./bin --exclude=node_modules . | tar -xf - -C "$$work/$$folder"; \
		(cd "$$work/$$folder" && $(RELEASE) -buildvcs=false -o "$$work/$$folder/holdfast" ./cmd/holdfast); \
	done; \
	cd "$$work"; sha256sum one/holdfast another/folder/holdfast; cmp one/holdfast another/folder/holdfast; echo "the same bytes"

test: ## run all tests
	go test -timeout 20m ./...

# Tests of whole clusters take several times as long under the race detector.
# These have every part of a node run beside every other.
RACED := TestChaos|TestServerThatNobodyReaches|TestSurvivor|TestReplacedIsland

# These start programs that were built without it, or measure memory.
PLAIN := TestSmoke|TestMemoryAccounting|TestScenariosCatchBugs

check: ## format, vet, staticcheck, modules, direction of imports, tests under the race detector; of the simulation some
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	go mod verify
	go mod tidy -diff
	go test -count=1 ./internal/importcheck/
	go test -race -skip '^($(PLAIN))$$' $$(go list ./... | grep -v /test/simulation)
	go test -race -timeout 20m -run '$(RACED)' ./test/simulation -length 30s

race-simulation: ## all tests of the simulation under the race detector
	go test -race -timeout 60m ./test/simulation

# Modules of their own, so that these libraries are no dependencies of Holdfast:
# go test ./... at the root does not come here.
adapters-test: ## test the adapters with the libraries that they are for, under the race detector
	@set -e; for module in gorilla conformance; do \
		(cd "adapters/$$module" && echo "adapters/$$module" && go mod verify && go mod tidy -diff && go vet ./... && go run $(STATICCHECK) ./... && go test -race ./...); \
	done

bench: ## run all benchmarks, or those that BENCH=regexp names
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

cost: ## measure what each command and operation costs by the field, at 100 to 100,000 fields; it must stay flat
	@set -e; out=$$(mktemp); trap 'rm -f "$$out"' EXIT; \
	go test -run '^$$' -bench '^BenchmarkCost' -benchtime 1x ./session ./internal/command >"$$out" 2>&1 || { cat "$$out"; exit 1; }; \
	awk 'BEGIN { print "| ns a field | 100 | 1,000 | 10,000 | 100,000 |"; print "| --- | --: | --: | --: | --: |" } \
		/^BenchmarkCost/ { name = $$1; sub(/^BenchmarkCost\//, "", name); sub(/-[0-9]+$$/, "", name); gsub(/_/, " ", name); printf "| %s | %.3g | %.3g | %.3g | %s |\n", name, $$3, $$5, $$7, $$9 == "" ? "" : sprintf("%.3g", $$9) }' "$$out"

router-vectors: ## send the router's table of odd and hostile requests, and count
	@go test -count=1 -run '^TestVectors$$' -v ./router | awk '/^(=== |    --- PASS)/ { next } { print } /^FAIL/ { bad = 1 } END { exit bad }'

bench-router: ## measure the router beside HAProxy and nginx (needs wrk, haproxy and nginx), on ten ports from PORT=24800 on
	go run ./test/bench/router -base-port $(PORT)

# One package and one target at a time, which is all that go test -fuzz takes.
fuzz: ## fuzz each target for FUZZTIME=10s
	@set -e; for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime '$(FUZZTIME)' "$$pkg"; \
		done; \
	done

browser-test: ## watch a failover in headless Chromium; REQUIRE_BROWSER=1 fails where there is none, pictures go to BROWSER_OUT
	cd test/browser && go vet ./... && go test -count=1

resp-diff: build ## compare answers with those of redis-server 7, byte for byte (it must be installed)
	go run ./test/respdiff -redis redis-server -holdfast $(abspath $(OUT))

bench-resp: build ## CPU time of Redis commands beside redis-server 7, one node and three (it and redis-benchmark must be installed)
	go run ./test/bench/resp -holdfast $(abspath $(OUT))

bench-disk: build ## what keeping sessions on the disk of DISK=directory costs: CPU time beside none and beside redis-server, and 1,000,000 sessions loaded
	HOLDFAST_BENCH_DIR=$(DISK) go test -run '^$$' -bench 'Flush|Load' -benchtime 5x ./internal/persist
	go run ./test/bench/resp -holdfast $(abspath $(OUT)) -disk '$(DISK)'

abuse: build ## what one client or stranger can do to 500 others: ten attacks on real processes, about 6 minutes; ONLY=1,4 picks
	go run ./test/abuse -bin $(OUT) -only '$(ONLY)' -base-port $(ABUSEPORT)

abuse-short: build ## the same in about 2 minutes
	go run ./test/abuse -bin $(OUT) -only '$(ONLY)' -base-port $(ABUSEPORT) -short

chaos: ## kill, pause, restart, join, drain, roll, log out and cut real processes (root for the cuts)
	go run ./test/chaos -seed $(SEED)

chaos-selftest: ## plant each bug of internal/planted in turn: the tests of whole clusters, or else of one member, must catch it
	go run ./test/selftest

explore: ## every order of messages, faults and time for three members' claims and leases, within bounds, for FOR=2m
	go run ./test/explore -for $(FOR)

soak-sim: ## a month of simulated cluster life, SEEDS=2000 times 22 minutes, then SWARMS=500 drawn configurations; some hours of one core
	cd test/simulation && GOMAXPROCS=1 go test -run TestSoak -timeout 24h -seeds $(SEEDS) -length 30s -quiet 21m30s
	cd test/simulation && GOMAXPROCS=1 go test -run TestSwarm -timeout 24h -swarms $(SWARMS) -rounds 4 -v

soak: ## the same with longer cuts, again and again with other seeds, for DURATION=8h
	go run ./test/chaos -seed $(SEED) -count 20 -reads 250000 -logouts 2000 -cuts 5s,31s,120s -duration $(DURATION)

# Real clients are a module of their own. Those from npm need Node.js.
client-tests: ## real clients and session libraries at three nodes, one killed; the table goes into docs/REDIS.md
	@if command -v npm >/dev/null; then cd test/clients/js && npm ci --no-progress; else echo "npm is not installed: its clients will be skipped"; fi
	cd test/clients && go vet ./... && go run $(STATICCHECK) ./... && go mod verify && go mod tidy -diff
	cd test/clients && go test -count=1 -timeout 20m -v . -args -docs ../../docs/REDIS.md

failover-clients: ## what go-redis and rueidis see of a kill -9, each RUNS=3 times
	cd test/clients && go run ./failover -runs $(RUNS)

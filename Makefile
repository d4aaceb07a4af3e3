# `make` lists the targets; `make test` needs nothing but Go.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
SEED        ?= 1
DURATION    ?= 8h
BENCH       ?= .

.DEFAULT_GOAL := help
.PHONY: help build test check bench fuzz chaos soak browser-test

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

build: ## build bin/holdfast
	go build -o bin/holdfast ./cmd/holdfast

test: ## run all tests
	go test ./...

check: ## format, vet, staticcheck, modules, direction of imports, tests under the race detector
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	go mod verify
	go mod tidy -diff
	go test -count=1 ./internal/importcheck/
	go test -race ./...

bench: ## run all benchmarks, or those that BENCH=regexp names
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

# One package and one target at a time, which is all that go test -fuzz takes.
fuzz: ## fuzz each target for FUZZTIME=10s
	@set -e; for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime '$(FUZZTIME)' "$$pkg"; \
		done; \
	done

browser-test: ## watch a failover in headless Chromium; REQUIRE_BROWSER=1 fails where there is none, pictures go to BROWSER_OUT
	cd internal/browsertest && go vet ./... && go test -count=1 ./...

chaos: ## kill, pause, restart, join, drain, roll, log out and cut real processes (root for the cuts)
	go run ./internal/chaos -seed $(SEED)

soak: ## the same with longer cuts, again and again with other seeds, for DURATION=8h
	go run ./internal/chaos -seed $(SEED) -count 20 -reads 250000 -logouts 2000 -cuts 5s,31s,120s -duration $(DURATION)

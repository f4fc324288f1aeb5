# The commands of this project. CONTRIBUTING.md says when to use which.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
COUNT       ?= 10
BENCH       ?= .
DURATION    ?= 10m
PKGS        ?= ./...
TESTFLAGS   ?= -timeout 20m

.PHONY: demo test race fuzz bench lint soak check build

# demo: the tour, in memory; needs no root.
demo:
	$(GO) run ./cmd/godax demo

# build: the command, as bin/godax.
build:
	$(GO) build -trimpath -o bin/godax ./cmd/godax

# test: everything that must hold before a commit.
test: lint
	$(GO) test $(TESTFLAGS) $(PKGS)

# race: all tests again, with the race detector.
race:
	$(GO) test $(TESTFLAGS) -race $(PKGS)

# lint: formatting, vet, staticcheck (pinned; staticcheck.conf).
lint:
	@out=$$(gofmt -l .); \
	if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet $(PKGS)
	$(GO) run $(STATICCHECK) $(PKGS)

check: test race

# fuzz: every fuzz target for FUZZTIME each. Found inputs are left in testdata/fuzz
# of the package, to be committed. Without the bound the time goes into making the
# first interesting superblock shorter.
fuzz:
	@set -e; for pkg in $$($(GO) list $(PKGS)); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg; \
	  done; \
	done

# bench: COUNT runs of the benchmarks that match BENCH, in the form that benchstat
# reads.
bench:
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) -timeout 0 $(PKGS)

# soak: the tests over and over in random order, race detector on, until DURATION is
# over. GODAX_SOAK, the number of the round, makes random tests long, and their seeds new.
soak:
	@set -e; d=$(DURATION); case $$d in *h) s=$$(( $${d%h} * 3600 ));; *m) s=$$(( $${d%m} * 60 ));; *) s=$${d%s};; esac; \
	end=$$(( $$(date +%s) + s )); round=0; \
	while [ $$(date +%s) -lt $$end ]; do \
	  round=$$(( round + 1 )); echo "== round $$round, $$(( end - $$(date +%s) )) s left"; \
	  GODAX_SOAK=$$round $(GO) test -race -shuffle on -count 1 -timeout 2h $(PKGS); \
	done

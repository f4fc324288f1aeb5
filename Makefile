# The commands of this project. CONTRIBUTING.md says when to use which.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
COUNT       ?= 10
BENCH       ?= .
DURATION    ?= 10m
PKGS        ?= ./...
COREPKGS    ?= ./vm/... ./dax ./block ./vfs ./internal/daxtest/... ./internal/hook ./internal/rwsem
TESTFLAGS   ?= -timeout 20m

.PHONY: demo test race fuzz bench lint soak suites check build mutate verify axfs-table

# demo: the tour, in memory; needs no root.
demo:
	$(GO) run ./cmd/godax demo

# build: the command, as bin/godax.
build:
	$(GO) build -trimpath -o bin/godax ./cmd/godax

# test: everything that must hold before a commit. The packages around the core once more
# with the hooks that tests of interleavings need; the race detector's build has them too.
test: lint
	$(GO) test $(TESTFLAGS) $(PKGS)
	$(GO) test $(TESTFLAGS) -tags daxdebug $(COREPKGS)

# race: all tests again, with the race detector.
race:
	$(GO) test $(TESTFLAGS) -race $(PKGS)

# lint: formatting, vet, staticcheck (pinned; staticcheck.conf).
lint:
	@out=$$(gofmt -l .); \
	if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet $(PKGS)
	$(GO) vet -tags daxdebug $(COREPKGS)
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

# mutate: faults of the past put back one at a time; each has to be caught by a test.
# Takes some minutes.
mutate:
	$(GO) run ./internal/mutate

# verify: the table of what the tests show, docs/verification.md.
verify:
	$(GO) run ./internal/verify -w

# axfs-table: the table of docs/axfs.md, on Debian, as root; downloads packages.
axfs-table:
	$(GO) run ./internal/axfscompare

# suites: other people's tests on a mount (root; SUITES and BLOCKS choose some).
SUITES ?=
BLOCKS ?= 1024 2048 4096
suites:
	internal/suites/run -b "$(BLOCKS)" $(SUITES)

# soak: the tests over and over in random order, race detector on, until DURATION is
# over. GODAX_SOAK, the number of the round, makes random tests long, and their seeds new.
soak:
	@set -e; d=$(DURATION); case $$d in *h) s=$$(( $${d%h} * 3600 ));; *m) s=$$(( $${d%m} * 60 ));; *) s=$${d%s};; esac; \
	end=$$(( $$(date +%s) + s )); round=0; \
	while [ $$(date +%s) -lt $$end ]; do \
	  round=$$(( round + 1 )); echo "== round $$round, $$(( end - $$(date +%s) )) s left"; \
	  GODAX_SOAK=$$round $(GO) test -race -shuffle on -count 1 -timeout 2h $(PKGS); \
	done

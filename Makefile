# The commands of this project. Each installs what it needs.
#
#   make demo      real libvirtd, QEMU guest and virsh through the broker; KEEP=1 leaves it running
#   make check     lint, the suites of the three layers and the simulation: minutes, for daily work
#   make test      everything that a change must pass
#   make soak      the same kinds of test for hours: fuzzing, fault injection, slow readers
#   make test-package  the Debian package on a host with a systemd of its own
#   make build     the release build, with Swift's runtime linked in
#   make bench     measures the broker beside other relays, in under 10 minutes; writes bench/results.local/
#   make bench-publish  makes the newest measurement the report in bench/results/
#   make lint      checks the format of the Swift files, the links of the documents, and the figures of the README
#   make install   into DESTDIR and prefix (/usr/local)
#   make deb       Debian packages of the same: .build/deb/virtbroker_VERSION_ARCH.deb, and virtbroker-bench

SHELL := /bin/bash
prefix ?= /usr/local
sysconfdir ?= /etc
export DESTDIR prefix sysconfdir
# A debug build of its own, so that going to and fro between this and other builds rebuilds nothing.
CHECK_FLAGS = --scratch-path .build/check
# The suites are a debug build, with all checks at run time; the broker that the integration tests start is the product.
PRODUCT = VIRTBROKERD=$(CURDIR)/.build/release/virtbrokerd
# Between clients and a real libvirtd.
FAULTS = $(PRODUCT) VIRTBROKER_FAULT_SECONDS=20 VIRTBROKER_FAULT_SEED=1 \
  swift test --skip-build $(CHECK_FLAGS) --filter FaultInjectionTests/real
SOAK_SECONDS ?= 3600
# Of `make bench`, without the builds: it begins no round that would end later.
BENCH_MINUTES ?= 6

.PHONY: all demo check test soak test-package build build-product build-suites build-bench-suites build-sanitized \
  build-fuzz build-bench bench bench-publish lint install deb clean setup setup-tests
all: build

setup:
	@scripts/setup

setup-tests:
	@scripts/setup --tests

build: setup
	swift build -c release --product virtbrokerd --static-swift-stdlib
	swift build -c release --product virtbroker --static-swift-stdlib

demo: setup-tests build
	@scripts/demo

lint: setup
	swift format lint --strict --recursive Package.swift Sources Tests bench/Package.swift bench/Sources bench/Tests
	@scripts/links
	@scripts/bench-publish --check

check: setup-tests lint
	scripts/messages check
	swift build --build-tests $(CHECK_FLAGS)
	swift test --skip-build $(CHECK_FLAGS) --skip IntegrationTests

# Two builds at a time, because much of each uses one processor. The last line printed is the test run's own summary, so
# the cheaper checks come first. The simulations compute for long, and the integration tests wait for programs: not in one
# process, whose threads are few. While faults are injected, into brokers with a sanitizer each, the processors wait a
# third of the time, which the fuzzer makes use of. The package is made of the release build.
test: setup-tests lint
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target build-product build-suites build-bench-suites build-sanitized build-fuzz
	scripts/messages check
	.build/release/allocations
	swift test --skip-build --package-path bench
	scripts/beside "scripts/fuzz check" "scripts/sanitize faults && $(FAULTS)"
	swift test --skip-build $(CHECK_FLAGS) --skip IntegrationTests
	$(PRODUCT) swift test --skip-build $(CHECK_FLAGS) --filter IntegrationTests --skip FaultInjectionTests

build-product: build
	swift build -c release --product allocations --static-swift-stdlib

build-suites: setup
	swift build --build-tests $(CHECK_FLAGS)

build-bench-suites: setup
	swift build --build-tests --package-path bench

build-sanitized: setup
	scripts/sanitize build

build-fuzz: setup
	scripts/fuzz build

# Each target of the fuzzer, and the fault injection, runs for SOAK_SECONDS. The fault injection prints its seed. The
# suites of the three layers and the simulations run under the sanitizers here alone, and with planted faults.
soak: setup-tests build
	scripts/fuzz $(SOAK_SECONDS)
	VIRTBROKER_SOAK=1 scripts/sanitize
	scripts/mutants
	swift build --build-tests $(CHECK_FLAGS)
	seed=$$(date +%s)0000; for round in 1 2 3 4 5 6 7 8 9 10; do \
	  echo "simulations from seed $$seed on (VIRTBROKER_FIRST_SEED)"; \
	  VIRTBROKER_FIRST_SEED=$$seed swift test --skip-build $(CHECK_FLAGS) --filter 'Simulation.*promises' || exit 1; \
	  seed=$$((seed + 10000)); \
	done
	$(PRODUCT) VIRTBROKER_FAULT_SECONDS=$(SOAK_SECONDS) swift test --skip-build $(CHECK_FLAGS) --filter FaultInjectionTests
	$(PRODUCT) VIRTBROKER_LONG=1 swift test --skip-build $(CHECK_FLAGS) --filter BackPressureTests

# The package on a Debian with a systemd of its own, which is made once: no part of `make test`, because that takes minutes.
test-package: setup-tests build
	@Tests/Integration/package/debian >/dev/null
	swift build --build-tests $(CHECK_FLAGS)
	$(PRODUCT) VIRTBROKER_BOOTS_HOSTS=1 swift test --skip-build $(CHECK_FLAGS) --filter PackageTests

bench: setup-tests build build-bench
	cd bench && .build/release/virtbench compare --minutes $(BENCH_MINUTES)
	cd bench && .build/release/virtbench steps >results.local/$$(date -u +%F)-steps.md && cat results.local/$$(date -u +%F)-steps.md

bench-publish:
	@scripts/bench-publish

# What is installed of the bench: virtbench and the two programs it looks for beside itself.
build-bench: setup
	swift build -c release --static-swift-stdlib --package-path bench --product virtbench
	swift build -c release --static-swift-stdlib --package-path bench --product limit-relay
	swift build -c release --static-swift-stdlib --package-path bench --product steps

install: build build-bench
	@scripts/install-files

deb: build build-bench
	@scripts/deb

clean:
	rm -rf .build bench/.build

# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
# If empty, the program is installed with its symbols.
STRIP ?= strip
export PREFIX DESTDIR STRIP

export TOOLS = vma-pack vma-unpack vma-cat vma-to-tar vma-tap
# One program that contains all tools.
export PROGRAM = .build/release/vma-tools
PROGRAMS = $(TOOLS) vma-tools
# A library that nbdkit loads.
export PLUGIN = .build/release/libnbdkit-vma-plugin.so
SWIFT ?= swift
# Static: the installed program does not need Swift. lld removes functions that are never called.
# -z now: the table of library functions is read-only before the first byte of input is read.
# The other options make builds reproducible in any directory: they omit the build ID, hashes for
# incremental builds, and the path of the directory.
RELEASE = -c release --static-swift-stdlib -Xswiftc -use-ld=lld \
	-Xlinker --gc-sections -Xlinker --icf=all -Xlinker -z -Xlinker now -Xlinker --build-id=none \
	-Xswiftc -Xfrontend -Xswiftc -disable-incremental-llvm-codegen \
	-Xswiftc -file-prefix-map -Xswiftc "$(CURDIR)=." -Xcc "-ffile-prefix-map=$(CURDIR)=."
# Run time of each fuzz target. SANITIZERS=fuzzer,address also detects memory errors, but is slower.
SECONDS ?= 60
SANITIZERS ?= fuzzer
SWIFT_SOURCES = Package.swift Sources Tests
PACKAGES = .build/packages
SHELL_SCRIPTS = .ci/run scripts/install-packages scripts/demo scripts/make-guest \
	scripts/guest-init scripts/get-qemu scripts/fuzz scripts/install scripts/version scripts/check-versions \
	packaging/source-archive packaging/program-archive packaging/debian-package packaging/test \
	packaging/test-debian packaging/debian/tests/main-job \
	Tests/ExampleTests/Programs/libvirt-host Tests/ExampleTests/Programs/virsh \
	Tests/ExampleTests/Programs/vma-pack

.PHONY: all help build demo check check-all check-packages test fuzz bench install uninstall \
	docs completions format lint dist deb release clean

all: build

help:
	@echo 'make            build the tools (release) in .build/release'
	@echo 'make demo       install missing packages, build, and show the main tasks with a real file system and a running VM'
	@echo 'make check      install missing packages, check the style, and run all tests'
	@echo 'make check-all  run the slow tests: newer QEMU releases, random tests with more seeds, packages'
	@echo 'make test       run all tests for which the required programs are installed'
	@echo 'make fuzz       run each fuzz target for SECONDS ($(SECONDS)) seconds'
	@echo 'make bench      compare the speed with dd, zstd and nbdkit (see Benchmarks/README.md)'
	@echo 'make install    install in PREFIX ($(PREFIX)) below DESTDIR; keep symbols if STRIP is empty'
	@echo 'make uninstall  remove the installed files, and directories that make install created'
	@echo 'make deb        build a Debian package in $(PACKAGES)'
	@echo 'make dist       build a source archive and a binary archive in $(PACKAGES)'
	@echo 'make check-packages  build all packages, and test them on Debian 12 and 13'
	@echo 'make release    check that this commit can be released, and build all packages'
	@echo 'make docs       build the documentation of the library in .build/docs'
	@echo 'make completions  update completions/ after options have changed'
	@echo 'make format     format the Swift sources'
	@echo 'make lint       check the style of sources, scripts and manual pages'
	@echo 'make clean      remove .build'

build: export VMA_TOOLS_VERSION = $(shell scripts/version)
build:
	for program in $(PROGRAMS); do \
	  $(SWIFT) build $(RELEASE) --product $$program || exit 1; \
	done
	$(SWIFT) build $(RELEASE) --product nbdkit-vma-plugin

demo:
	scripts/install-packages build demo
	$(MAKE) build
	scripts/demo .build/release .build/guest

check:
	scripts/install-packages build demo check
	$(MAKE) lint
	$(MAKE) test

# Debian releases whose QEMU scripts/get-qemu unpacks.
NEWER_QEMUS = trixie sid
LIVE_TESTS = ^(TapTests|NBDTests)\.
RANDOM_TESTS = ^(ToolTests\.((Event)?Fuzz|Mutation)|PackTests\.|TapTests\.BackupTests)

check-all:
	scripts/install-packages build demo check
	$(SWIFT) build --build-tests
	status=0; \
	for qemu in $(NEWER_QEMUS); do \
	  echo "Live tests with the QEMU of Debian $$qemu"; \
	  QEMU=$$qemu $(SWIFT) test --skip-build --filter '$(LIVE_TESTS)' || status=1; \
	done; \
	echo 'Random tests with 10 times as many seeds'; \
	SOAK=10 $(SWIFT) test --skip-build --filter '$(RANDOM_TESTS)' || status=1; \
	echo 'Packages'; \
	$(MAKE) check-packages || status=1; \
	exit $$status

test:
	$(SWIFT) test

# .build/fuzz holds the programs, the corpus, and inputs that cause a failure.
fuzz:
	FUZZ=1 $(SWIFT) build -c release --scratch-path .build/fuzz --product fuzz \
	  -Xswiftc -sanitize=$(SANITIZERS) -Xswiftc -use-ld=lld
	$(SWIFT) build
	scripts/fuzz .build/fuzz/release/fuzz .build/debug $(SECONDS)

bench:
	scripts/install-packages build demo check bench
	$(MAKE) build
	Benchmarks/run .build/release
	Benchmarks/live .build/release
	Benchmarks/io .build/release
	Benchmarks/access .build/release

# Swift is often not installed for root. The program that was built before is then installed.
$(PROGRAM) $(PLUGIN) &: Package.swift $(shell find Sources)
	@if command -v $(SWIFT) >/dev/null; then $(MAKE) build; \
	elif [ -e $(PROGRAM) ] && [ -e $(PLUGIN) ]; then echo 'Warning: installing $(PROGRAM), which is older than the sources; Swift was not found' >&2; \
	else echo 'Swift was not found (run make first)' >&2; exit 1; fi

install: $(PROGRAM) $(PLUGIN)
	scripts/install

uninstall:
	scripts/install --uninstall

dist:
	scripts/install-packages build
	source=$$(packaging/source-archive $(PACKAGES)) && echo "$$source" && \
	  packaging/program-archive "$$source" $(PACKAGES)

deb:
	scripts/install-packages build package
	source=$$(packaging/source-archive $(PACKAGES)) && \
	  packaging/debian-package "$$source" $(PACKAGES)

check-packages:
	scripts/install-packages build package
	packaging/test

release:
	scripts/check-versions --release
	$(MAKE) check check-all
	$(MAKE) dist
	$(MAKE) deb
	@echo "Ready: run git tag -s v$$(scripts/version), and publish $(PACKAGES)"

# The documentation of the library. It needs docc, which comes with Swift; warnings are errors.
docs: DOCS = .build/docs
docs:
	rm -rf $(DOCS)
	mkdir -p $(DOCS)/symbols
	$(SWIFT)c -swift-version 6 -package-name vma-tools -module-name VMA -emit-module \
	  -o $(DOCS)/symbols/VMA.swiftmodule -emit-symbol-graph -emit-symbol-graph-dir $(DOCS)/symbols \
	  Sources/VMA/*.swift
	docc convert Sources/VMA/VMA.docc --additional-symbol-graph-dir $(DOCS)/symbols \
	  --output-path $(DOCS)/VMA --warnings-as-errors \
	  --fallback-display-name VMA --fallback-bundle-identifier VMA

completions:
	$(SWIFT) build
	for tool in $(TOOLS); do \
	  .build/debug/$$tool --generate-completion-script bash > completions/$$tool.bash && \
	  .build/debug/$$tool --generate-completion-script zsh > completions/_$$tool && \
	  .build/debug/$$tool --generate-completion-script fish > completions/$$tool.fish || exit 1; \
	done

format:
	$(SWIFT) format --in-place --parallel --recursive $(SWIFT_SOURCES)

lint:
	$(SWIFT) format lint --strict --parallel --recursive $(SWIFT_SOURCES)
	shellcheck $(SHELL_SCRIPTS)
	mandoc -T lint -W warning man/*
	scripts/check-versions

clean:
	rm -rf .build

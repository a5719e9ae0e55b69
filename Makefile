# SPDX-License-Identifier: Apache-2.0
# `make help` lists what can be made.

PREFIX ?= /usr/local
DESTDIR ?=
# Empty: the program is installed with its symbols.
STRIP ?= strip
export PREFIX DESTDIR STRIP

export TOOLS = vma-pack vma-unpack vma-cat vma-to-tar vma-tap
# One program that is all of the tools.
export PROGRAM = .build/release/vma-tools
PROGRAMS = $(TOOLS) vma-tools
SWIFT ?= swift
# Static: an installed tool needs no Swift on its machine. lld leaves out what is never called.
# -z now: the table of library functions is read-only before the first byte of input is read.
# The rest makes the same sources give the same program in any folder: no build id, no hashes for
# incremental builds, no path of the folder.
RELEASE = -c release --static-swift-stdlib -Xswiftc -use-ld=lld \
	-Xlinker --gc-sections -Xlinker --icf=all -Xlinker -z -Xlinker now -Xlinker --build-id=none \
	-Xswiftc -Xfrontend -Xswiftc -disable-incremental-llvm-codegen \
	-Xswiftc -file-prefix-map -Xswiftc "$(CURDIR)=." -Xcc "-ffile-prefix-map=$(CURDIR)=."
# For each fuzz target. SANITIZERS=fuzzer,address also finds wrong use of memory, and is slower.
SECONDS ?= 60
SANITIZERS ?= fuzzer
SWIFT_SOURCES = Package.swift Sources Tests
PACKAGES = .build/packages
SHELL_SCRIPTS = .ci/run scripts/install-packages scripts/demo scripts/make-guest \
	scripts/guest-init scripts/get-qemu scripts/fuzz scripts/install scripts/version scripts/check-versions \
	packaging/source-archive packaging/program-archive packaging/debian-package packaging/test \
	packaging/test-debian packaging/debian/tests/main-job

.PHONY: all help build demo check check-all check-packages test fuzz bench install uninstall \
	completions format lint dist deb release clean

all: build

help:
	@echo 'make            build the tools (release) in .build/release'
	@echo 'make demo       install what is missing, build, and show the main job on a real disk image and a live guest'
	@echo 'make check      install what is missing, lint, and run all tests'
	@echo 'make check-all  the slow half: live tests with newer QEMUs, random tests with more seeds, packages'
	@echo 'make test       run all tests that need nothing but what is installed'
	@echo 'make fuzz       run every fuzz target for SECONDS ($(SECONDS)) seconds'
	@echo 'make bench      measure against dd, zstd and nbdkit (Benchmarks/README.md)'
	@echo 'make install    install below PREFIX ($(PREFIX)), inside DESTDIR; with symbols if STRIP is empty'
	@echo 'make uninstall  remove what make install installed, and the directories that it created'
	@echo 'make deb        build a Debian package in $(PACKAGES)'
	@echo 'make dist       build archives of the sources and of the programs in $(PACKAGES)'
	@echo 'make check-packages  build and test all packages, on Debian 12 and 13'
	@echo 'make release    check that this commit can be released, and build all packages'
	@echo 'make completions  write completions/ anew, after a change of options'
	@echo 'make format, make lint, make clean'

build: export VMA_TOOLS_VERSION = $(shell scripts/version)
build:
	for program in $(PROGRAMS); do \
	  $(SWIFT) build $(RELEASE) --product $$program || exit 1; \
	done

demo:
	scripts/install-packages build demo
	$(MAKE) build
	scripts/demo .build/release .build/guest

check:
	scripts/install-packages build demo check
	$(MAKE) lint
	$(MAKE) test

# Debian releases whose QEMUs scripts/get-qemu unpacks.
NEWER_QEMUS = trixie sid
LIVE_TESTS = ^(TapTests|NBDTests)\.
RANDOM_TESTS = ^(ToolTests\.((Event)?Fuzz|Mutation)|PackTests\.|TapTests\.BackupTests)

check-all:
	scripts/install-packages build demo check
	$(SWIFT) build --build-tests
	status=0; \
	for qemu in $(NEWER_QEMUS); do \
	  echo "Live tests with QEMU of Debian $$qemu"; \
	  QEMU=$$qemu $(SWIFT) test --skip-build --filter '$(LIVE_TESTS)' || status=1; \
	done; \
	echo 'Random tests with 10 times as many seeds'; \
	SOAK=10 $(SWIFT) test --skip-build --filter '$(RANDOM_TESTS)' || status=1; \
	echo 'Packages'; \
	$(MAKE) check-packages || status=1; \
	exit $$status

test:
	$(SWIFT) test

# The programs and the corpus so far lie in .build/fuzz, with what was found.
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

# Root often has no Swift: then what is built is installed as it is.
$(PROGRAM): Package.swift $(shell find Sources)
	@if command -v $(SWIFT) >/dev/null; then $(MAKE) build; \
	elif [ -e $@ ]; then echo 'Warning: $@ is older than the sources, and Swift was not found' >&2; \
	else echo 'Swift was not found; please run make first' >&2; exit 1; fi

install: $(PROGRAM)
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
	@echo "Ready: git tag -s v$$(scripts/version), and publish $(PACKAGES)"

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

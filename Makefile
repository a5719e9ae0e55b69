# SPDX-License-Identifier: Apache-2.0
# `make help` lists what can be made.

PREFIX ?= /usr/local
DESTDIR ?=
bindir = $(PREFIX)/bin
mandir = $(PREFIX)/share/man
bashdir = $(PREFIX)/share/bash-completion/completions
zshdir = $(PREFIX)/share/zsh/site-functions
fishdir = $(PREFIX)/share/fish/vendor_completions.d

TOOLS = vma-pack vma-unpack vma-cat vma-to-tar vma-tap
SWIFT ?= swift
# Static: an installed tool needs no Swift on its machine. lld leaves out what is never called.
RELEASE = -c release --static-swift-stdlib -Xswiftc -use-ld=lld \
	-Xlinker --gc-sections -Xlinker --icf=all
# For each fuzz target. SANITIZERS=fuzzer,address also finds wrong use of memory, and is slower.
SECONDS ?= 60
SANITIZERS ?= fuzzer
SWIFT_SOURCES = Package.swift Sources Tests
SHELL_SCRIPTS = .ci/run scripts/install-packages scripts/demo scripts/make-guest \
	scripts/guest-init scripts/get-qemu scripts/fuzz

.PHONY: all help release demo check check-all test fuzz bench install uninstall completions format lint clean

all: release

help:
	@echo 'make            build the tools (release) in .build/release'
	@echo 'make demo       install what is missing, build, and show the main job on a real disk image and a live guest'
	@echo 'make check      install what is missing, lint, and run all tests'
	@echo 'make check-all  the slow half: live tests with newer QEMUs, and random tests with more seeds'
	@echo 'make test       run all tests that need nothing but what is installed'
	@echo 'make fuzz       run every fuzz target for SECONDS ($(SECONDS)) seconds'
	@echo 'make bench      measure against dd, zstd and nbdkit (Benchmarks/README.md)'
	@echo 'make install    install below PREFIX ($(PREFIX)), inside of DESTDIR; make uninstall takes it back'
	@echo 'make completions  write completions/ anew, after a change of options'
	@echo 'make format, make lint, make clean'

# Products only: what supports tests needs a library that a static build lacks.
release:
	for tool in $(TOOLS); do $(SWIFT) build $(RELEASE) --product $$tool || exit 1; done

demo:
	scripts/install-packages build demo
	$(MAKE) release
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
	$(MAKE) release
	Benchmarks/run .build/release
	Benchmarks/live .build/release
	Benchmarks/io .build/release

# What is built is installed as it is: root needs no Swift.
.build/release/vma-%:
	$(MAKE) release

install: $(TOOLS:%=.build/release/%)
	install -d $(addprefix $(DESTDIR),$(bindir) $(mandir)/man1 $(mandir)/man5 $(bashdir) $(zshdir) $(fishdir))
	for tool in $(TOOLS); do \
	  install -s -m 755 .build/release/$$tool $(DESTDIR)$(bindir)/ && \
	  install -m 644 man/$$tool.1 $(DESTDIR)$(mandir)/man1/ && \
	  install -m 644 completions/$$tool.bash $(DESTDIR)$(bashdir)/$$tool && \
	  install -m 644 completions/_$$tool $(DESTDIR)$(zshdir)/ && \
	  install -m 644 completions/$$tool.fish $(DESTDIR)$(fishdir)/ || exit 1; \
	done
	install -m 644 man/vma.5 man/vma-events.5 $(DESTDIR)$(mandir)/man5/

uninstall:
	for tool in $(TOOLS); do \
	  rm -f $(DESTDIR)$(bindir)/$$tool $(DESTDIR)$(mandir)/man1/$$tool.1 \
	    $(DESTDIR)$(bashdir)/$$tool $(DESTDIR)$(zshdir)/_$$tool $(DESTDIR)$(fishdir)/$$tool.fish; \
	done
	rm -f $(DESTDIR)$(mandir)/man5/vma.5 $(DESTDIR)$(mandir)/man5/vma-events.5

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

clean:
	rm -rf .build

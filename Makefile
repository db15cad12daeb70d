# SPDX-License-Identifier: Apache-2.0
# A thin front: each target is a script of scripts/, which has --help.
.PHONY: help run build install test lint bench asan tsan fuzz coverage docs clean
.DEFAULT_GOAL := build

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1 \t\2/p' Makefile | expand -t 16

build: ## build warp and the C SDK in build/dev
	@scripts/bootstrap.sh run
	@bash -c '. scripts/common.sh && build dev warp sdk && say "build/dev/warp"'

install: ## build release and install it; PREFIX=/usr/local, DESTDIR=
	@scripts/bootstrap.sh run
	@bash -c '. scripts/common.sh && build release installable'
	cmake --install build/release --prefix $(or $(PREFIX),/usr/local)

run: ## pack a C service, serve it with a private PostgreSQL, ask it, stop
	@scripts/bootstrap.sh run
	@scripts/run.sh

test: ## all tests; the last line counts them
	@scripts/bootstrap.sh run test
	@scripts/test.sh dev

lint: ## layout and static analysis of C, Rust and scripts
	@scripts/bootstrap.sh run lint
	@scripts/lint.sh

bench: ## all benches; each figure is a RESULT line
	@scripts/bootstrap.sh run bench
	@scripts/bench.sh

asan: ## all tests under ASan and UBSan
	@scripts/bootstrap.sh run test
	@scripts/test.sh asan

tsan: ## tests of the C core under TSan
	@scripts/bootstrap.sh run test
	@scripts/test.sh tsan

fuzz: ## a minute of fuzzing for each parser
	@scripts/bootstrap.sh run
	@scripts/fuzz.sh

coverage: ## which lines of the host's C the tests run
	@scripts/bootstrap.sh run test
	@scripts/coverage.sh

docs: ## write the generated parts of docs/ again
	@bash -c '. scripts/common.sh && build dev test_config_docs test_cli_docs'
	@build/dev/tests/config/docs_test --update >/dev/null
	@build/dev/tests/cli/docs_test --update >/dev/null
	@scripts/audit-licenses.py

clean: ## remove build/ and dist/; the cache stays
	rm -rf build dist

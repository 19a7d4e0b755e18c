# safecache. `make` lists what there is; the work is in small scripts under tools/.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak screenshots

help:   ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{ printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo:   ## build and run the gateway with a built-in demo LLM (ARGS="--listen 127.0.0.1:9000")
	@tools/demo $(ARGS)

test:   ## run every test: Rust, the scripts, the official clients, the console in Chromium
	@tools/run-parts test

check:  ## formatting, lints, documentation, house rules, licences, instructions of a request
	@tools/run-parts check

bench:  ## instructions of each step of a request, counted under valgrind (builds release)
	@tools/bench

soak:   ## the tests with larger numbers, up to an hour (SEED=1, MINUTES=60, RECORD=1 writes docs/soak.md)
	@tools/run-parts soak

screenshots:   ## take the README's pictures of the console anew (docs/console)
	@tools/screenshots

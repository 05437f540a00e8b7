# What a person types. Everything else is a #[test].

.PHONY: help demo test install lint test-rust simulate test-real test-hosts battery mutants bench bench-scale man

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: ## watch an embedded fleet rotate, fail and go back
	cargo run --release -- demo

test: install lint test-rust test-real ## everything, on this machine (installs what it lacks)

install: ## what the tests need beyond a Rust toolchain and a C compiler
	sh tests/setup/install

lint: ## form and style
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test real --test hosts -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	shellcheck -s sh src/host/program.sh src/host/quarantine.sh tests/setup/install tests/setup/ansible tests/setup/readers tests/mutants/coordinator tests/real/dotenv_readers/shell.sh
	shellcheck -s sh src/host/evidence.sh
	shellcheck -s sh tests/hosts/boot.sh tests/hosts/guest/stand.sh tests/hosts/guest/stranger.sh

test-rust: ## what needs no packages: the same as plain `cargo test`
	cargo test --locked

SEEDS ?= 100000
simulate: ## the coordinator in a simulated world that goes wrong: SEEDS=1000000 of them, or SEED=1234 with its trace
	cargo test --locked --release --test simulation -- $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

test-real: ## OpenSSH, other shells, SQLite, readers of .env files, Ansible
	cargo test --locked --test real

test-hosts: ## real systemd hosts, Debian 12 and 13, in containers of their own (needs root)
	sh tests/setup/install hosts
	cargo test --locked --test hosts

battery: ## what takes too long for every change: every crash point, failing write, power cut, partition and race (needs root)
	sh tests/setup/install hosts
	LOCKTURN_SWEEP=every cargo test --locked --test real -- --nocapture --test-threads 5 sshd::battery host_duels
	cargo test --locked --test hosts -- --battery

mutants: ## bugs put in on purpose, each found by its test; MUTANTS='M03 M10' for some, all of them and cargo-mutants otherwise
	sh tests/setup/install mutants
	MUTANTS='$(MUTANTS)' tests/mutants/run
	[ -n '$(MUTANTS)' ] || tests/mutants/coordinator

bench: ## lockturn against its peers on OpenSSH hosts; BENCH='--hosts 20 --rounds 1' for less
	cargo build --release --locked
	python3 benches/run.py $(BENCH)

bench-scale: ## what 100, 1,000 and 10,000 hosts cost the coordinator; BENCH='--hosts 500' for another number
	cargo build --release --locked --bins --example light_hosts
	python3 benches/scale.py $(BENCH)

man: ## the manual page
	@cargo run --quiet --release -- man

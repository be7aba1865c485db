# The one door for people and for CI. Longer than a line or two becomes Rust.
.PHONY: demo run check test test-pgbouncer fuzz bench chaos mutants clean-local

demo:
	cargo build --workspace --bins
	target/debug/wahacast demo --dir .local/demo

run:
	cargo build --workspace --bins
	target/debug/wahacast up --sim-workers 3 --register

check:
	cargo fmt --check && cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

test:
	cargo build --workspace --bins
	target/debug/wahacast servers --dir .local/test --need valgrind -- cargo test --workspace

# The same with a PgBouncer in transaction mode before PostgreSQL.
test-pgbouncer:
	cargo build --workspace --bins
	target/debug/wahacast servers --dir .local/pgbouncer --need valgrind --pgbouncer -- cargo test --workspace

# Every figure beside the limit of its parts: a quarter of an hour after the build, on a quiet machine.
# BENCHES="send place" make bench measures only those; docs/PERFORMANCE.md says what came of it.
# BENCHES=long make bench, on its own: a hundred million messages, 60 GB of disk for most of an hour.
bench:
	cargo build --release --workspace --bins
	target/release/wahacast bench $(BENCHES)

# Five fixed seeds and three fresh ones, ten minutes of load each, two side by side: about an hour.
# SEEDS="1 2" MINUTES=2 JOBS=1 make chaos does less; docs/EVIDENCE.md says what came of it.
chaos:
	cargo build --release --workspace --bins
	scripts/chaos

# Breaks the code on purpose, and chaos must notice: seventeen builds, two runs side by side, most of
# an hour. NAMES="no-fence" MINUTES=1 make mutants does less.
mutants:
	scripts/mutants

# The servers' data may lie elsewhere (called by root in a folder that is closed to others).
clean-local:
	rm -rf $(shell readlink -f .local/servers .local/*/servers) .local

# Every operation of the OpenAPI document, some 2,500 cases in about two minutes; needs Python.
fuzz:
	cargo build --workspace --bins
	scripts/fuzz 40

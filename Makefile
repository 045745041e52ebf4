# Everything people and machines start from. `make help` lists it; CI runs `.ci/run`, which calls `make all`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# uv trusts the system's certificates, so that it works behind a company proxy.
export UV_SYSTEM_CERTS := 1
export TOOLS_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/audio-extract-ci/tools

UV := .ci/uv
BIN := .venv/bin
PYTHON := $(BIN)/python
APP := $(BIN)/audio-extract
CARGO_DENY := $(TOOLS_DIR)/bin/cargo-deny
CARGO_DENY_VERSION := 0.20.2

ARGS ?=
PYTEST_ARGS ?= -n auto --dist worksteal
# Rust builds in one profile only: tests, benches and the engine share their dependencies' object files.
CARGO_FLAGS := --locked --release

##@ Setup
.PHONY: help build setup-dev
help: ## List what there is
	@awk 'BEGIN { FS = ":.*## "; print "usage: make TARGET [ARGS=…]" } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z][a-z-]*:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Make .venv/ with .venv/bin/audio-extract and the engine (installs uv if missing)
	@$(UV) sync --locked --all-extras --group dev

setup-dev: build ## Build, and let git run the linters before each commit
	@$(UV) tool run pre-commit install

##@ Run
.PHONY: demo jaeger run run-once status validate-config
demo: build ## Emulated Drive and Cloud Storage, the real service between them; ARGS=--once ends by itself
	@$(APP) demo $(ARGS)

jaeger: ## A Jaeger that receives traces on http://localhost:4318 (builds it once; needs Go)
	@program=$$(.ci/jaeger) && echo "OTLP: http://localhost:4318 · query API: http://localhost:16686/api/traces/ID" \
	  && exec "$$program"

run: build ## The service, with your configuration; ARGS="--config F"
	@$(APP) run $(ARGS)

run-once: build ## One round: discover, process all that is due, exit
	@$(APP) once $(ARGS)

status: build ## What the tracker knows
	@$(APP) list $(ARGS)

validate-config: build ## Test each part with your settings and say what to do
	@$(APP) check $(ARGS)

##@ Test
.PHONY: all test test-unit test-integration test-rust test-python test-real test-tools test-jaeger chaos chaos-scale soak fuzz loadtest docs screenshots
all: lint test ## What CI runs

test: build test-rust test-python ## Build, then all tests (Rust and Python)

test-rust:
	@cargo test $(CARGO_FLAGS) --workspace

test-python: test-tools
	@$(PYTHON) -m pytest $(PYTEST_ARGS) $(ARGS)

test-unit: build ## Only the Python unit tests
	@$(PYTHON) -m pytest $(PYTEST_ARGS) tests/unit $(ARGS)

test-integration: build test-tools ## Only the tests that start servers and FFmpeg
	@$(PYTHON) -m pytest $(PYTEST_ARGS) tests/integration tests/contract tests/e2e $(ARGS)

test-real: build test-tools ## The demo's assertions against Google; needs AUDIO_EXTRACT_TEST_FOLDER_ID, AUDIO_EXTRACT_TEST_BUCKET and a key
	@$(PYTHON) -m pytest -n 0 --timeout 3600 tests/real $(ARGS)

test-jaeger: build test-tools ## Traces of real transfers, read back from a real Jaeger (builds it once; needs Go)
	@.ci/jaeger >/dev/null
	@$(PYTHON) -m pytest -n 0 tests/integration/test_jaeger.py $(ARGS)

loadtest: build test-tools ## A hundred people look at the dashboard while four transfers run; ARGS="--rows N"
	@$(UV) sync --locked --all-extras --group dev --group load --quiet
	@PYTHONPATH=tests:benches $(PYTHON) -m load $(ARGS)

docs: build ## Write docs/telemetry.md from the code, and the board of Grafana
	@$(PYTHON) docs/telemetry.py
	@$(PYTHON) deploy/grafana/dashboard.py

screenshots: build test-tools ## Pictures of the pages for README, into docs/images
	@PYTHONPATH=tests $(PYTHON) tests/e2e/pictures.py docs/images

ROUNDS ?= 200
chaos: build test-tools ## Kill the service at every point, start it again, look at what is stored; ROUNDS=n ARGS="--seed n"
	@PYTHONPATH=tests $(PYTHON) -m chaos --rounds $(ROUNDS) $(ARGS)

MINUTES ?= 30
soak: build test-tools ## The service for a long time, with recordings that keep coming: memory and open files must not grow; MINUTES=n
	@PYTHONPATH=tests $(PYTHON) -m soak --minutes $(MINUTES) $(ARGS)

SECONDS_EACH ?= 60
fuzz: build ## Any bytes as a recording: each target for SECONDS_EACH=n (installs cargo-fuzz once)
	@.ci/fuzz $(SECONDS_EACH)

chaos-scale: build test-tools ## 500 recordings, two services, four workers, kills, restarts of database and Redis; ARGS="--seed N"
	@PYTHONPATH=tests $(PYTHON) -m chaos.scale $(ARGS)

# ffprobe comes with the system's FFmpeg only. Where it, Chromium or a shell cannot be installed, the tests that need them
# say so by name.
test-tools:
	@.ci/ffmpeg
	@.ci/chromium
	@.ci/shells
	@.ci/prometheus

##@ Check
.PHONY: lint lint-python lint-rust lint-rules lint-text lint-deploy audit format type-check
lint: build lint-python lint-rust lint-rules lint-text lint-deploy ## Every linter and type checker

lint-python:
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --strict
	@MYPYPATH=benches $(BIN)/mypy --strict -p bench
	@cd $(CURDIR) && $(BIN)/stubtest --mypy-config-file pyproject.toml audio_extract._engine

lint-rust: $(CARGO_DENY)
	@cargo fmt --all --check
	@cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	@.ci/cargo-deny $(CARGO_DENY)

lint-rules:
	@.ci/prometheus check

lint-text:
	@$(BIN)/typos

lint-deploy: ## Workflows, compose, nginx, systemd, Kubernetes, Terraform, scripts: each with its own tool (builds some once; needs Go)
	@.ci/lint-deploy

audit: build $(CARGO_DENY) ## Known vulnerabilities of what uv.lock and Cargo.lock name; REQUIRE_ADVISORIES=1 fails without their data
	@.ci/cargo-deny $(CARGO_DENY)
	@.ci/pip-audit $(BIN)/pip-audit

$(CARGO_DENY):
	@echo "installing cargo-deny $(CARGO_DENY_VERSION) into $(TOOLS_DIR) (once, some minutes)"
	@CARGO_TARGET_DIR=$(TOOLS_DIR)/build cargo install --quiet --locked --root $(TOOLS_DIR) cargo-deny@$(CARGO_DENY_VERSION)
	@rm -rf $(TOOLS_DIR)/build

format: build ## Rewrite Python and Rust in the house format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
	@cargo fmt --all

type-check: build ## mypy --strict, and the engine's stub against the engine
	@$(BIN)/mypy --strict
	@$(BIN)/stubtest --mypy-config-file pyproject.toml audio_extract._engine

##@ Bench
.PHONY: bench bench-rust bench-instructions bench-tracker bench-discovery bench-telemetry mutants
bench: build ## Beside what people would use instead, in pairs; ARGS="--list", ARGS="--only NAME --pairs N"
	@PYTHONPATH=benches $(PYTHON) -m bench $(ARGS)

bench-rust: ## Time of each stage of the engine by itself (criterion); ARGS=remux for one
	@cargo bench --locked --profile release -p audio-extract-core --bench stages -- $(ARGS)

# Valgrind counts only inside the stage's own function: what prepares its data is left out.
bench-instructions: ## Instructions of each stage, which a busy machine does not disturb (needs valgrind)
	@command -v valgrind >/dev/null || { echo "valgrind is not installed (on Debian: apt-get install valgrind)" >&2; exit 2; }
	@program=$$(cargo bench --locked --profile release -p audio-extract-core --bench stages --no-run --message-format json \
	  | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'); \
	for stage in remux join_mp3 md5 crc32c measure; do \
	  valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect="audio_extract_core::bench::$$stage" \
	    "$$program" --once $$stage 2>&1 | awk -v stage=$$stage '/Collected/ { printf "%-10s %15d instructions\n", stage, $$NF }'; \
	done

bench-tracker: build ## The tracker's questions with a million recordings; ARGS="--database sqlite"
	@PYTHONPATH=tests $(PYTHON) benches/tracker.py $(ARGS)

bench-telemetry: build ## CPU seconds with traces and without, in pairs; ARGS="--pairs N"
	@PYTHONPATH=tests $(PYTHON) benches/telemetry.py $(ARGS)

bench-discovery: build ## Looking for recordings when a hundred thousand are known: requests, seconds, memory
	@$(PYTHON) benches/discovery.py $(ARGS)

mutants: build ## Switch the engine's safeguards off one by one: the tests must notice (some minutes)
	@$(PYTHON) tests/mutants.py

##@ Package
.PHONY: ffmpeg test-ffmpeg dist dist-folder test-dist test-systemd docker test-docker test-gcsfuse wheel sbom sbom-image licenses scan
FFMPEG_FOLDER ?= build/ffmpeg

ffmpeg: ## The minimal FFmpeg for executable and image, build/ffmpeg (from Debian's source; kept outside the clone)
	@deploy/ffmpeg/build build/ffmpeg

# FFMPEG_FOLDER names another FFmpeg to carry, where none can be built.
$(FFMPEG_FOLDER)/ffmpeg:
	@$(MAKE) ffmpeg

dist: $(FFMPEG_FOLDER)/ffmpeg ## The one-file executable, dist/audio-extract
	@$(UV) sync --locked --all-extras --group dev --group package
	@FFMPEG_FOLDER=$(FFMPEG_FOLDER) $(BIN)/pyinstaller --noconfirm --log-level WARN pyinstaller.spec
	@ls -lh dist/audio-extract

dist-folder: $(FFMPEG_FOLDER)/ffmpeg ## The same as a folder that starts without unpacking, dist/audio-extract-folder (the image's)
	@$(UV) sync --locked --all-extras --group dev --group package
	@ONE_FOLDER=1 FFMPEG_FOLDER=$(FFMPEG_FOLDER) $(BIN)/pyinstaller --noconfirm --log-level WARN pyinstaller.spec
	@du -sh dist/audio-extract-folder

test-ffmpeg: build ffmpeg test-tools ## The minimal FFmpeg beside the system's full one: same results for every kind of recording
	@AUDIO_EXTRACT_TEST_FFMPEG=$(CURDIR)/build/ffmpeg/ffmpeg \
	  $(PYTHON) -m pytest $(PYTEST_ARGS) tests/package/test_minimal_ffmpeg.py $(ARGS)

test-dist: dist ## The executable on a bare Debian: no Python, FFmpeg, certificates, time zones or home (root)
	@AUDIO_EXTRACT_TEST_EXECUTABLE=dist/audio-extract AUDIO_EXTRACT_TEST_ROOT="$$(.ci/debian-root)" \
	  $(PYTHON) -m pytest -n 0 tests/package/test_executable.py $(ARGS)

test-systemd: dist ## The executable as a service of a real systemd: install, watchdog, drain (root)
	@AUDIO_EXTRACT_TEST_EXECUTABLE=dist/audio-extract AUDIO_EXTRACT_TEST_SYSTEMD_ROOT="$$(.ci/systemd-root)" \
	  $(PYTHON) -m pytest -n 0 tests/package/test_systemd.py $(ARGS)

# BASES=local begins with images made from Debian's packages, where no registry of images can be reached.
BASES ?= registry
VERSION ?= dev
DOCKER_ARGS = $(if $(filter local,$(BASES)),$$(.ci/docker-bases)) --build-arg REVISION=$$(git rev-parse HEAD) \
  --build-arg VERSION=$(VERSION)

docker: ## The image audio-extract:dev, and audio-extract:dev-plain without gcsfuse; BASES=local
	@docker build $(DOCKER_ARGS) --target plain --tag audio-extract:dev-plain .
	@docker build $(DOCKER_ARGS) --tag audio-extract:dev .

test-docker: build docker ## The image in a real Docker engine: demo, service, read-only, without rights, compose; BASES=local
	@.ci/deploy-tools
	@AUDIO_EXTRACT_TEST_IMAGE=audio-extract:dev AUDIO_EXTRACT_TEST_PLAIN_IMAGE=audio-extract:dev-plain \
	  AUDIO_EXTRACT_TEST_COMPOSE="$$(compgen -G '$(TOOLS_DIR)/deploy/docker-compose-v*')" \
	  $(PYTHON) -m pytest -n 0 tests/package/test_image.py tests/package/test_compose.py $(ARGS)

test-gcsfuse: build docker ## Audio through a bucket that gcsfuse mounts, in the image, with a stand-in for Cloud Storage (root)
	@AUDIO_EXTRACT_TEST_IMAGE=audio-extract:dev AUDIO_EXTRACT_TEST_STORAGE_SERVER="$$(.ci/fake-gcs-server)" \
	  $(PYTHON) -m pytest -n 0 tests/package/test_gcsfuse.py $(ARGS)

wheel: build ## A wheel for every Linux with the C library 2.28 or newer, in dist/
	@$(UV) tool run --from "maturin[zig]>=1.16,<2" maturin build --release --locked --zig --compatibility manylinux_2_28 --out dist

sbom: build ## What is inside, as CycloneDX: build/sbom/python.cdx.json, rust.cdx.json
	@mkdir -p build/sbom
	@$(UV) export --quiet --locked --no-dev --extra apprise --extra postgresql --extra redis \
	  --format cyclonedx1.5 --output-file build/sbom/python.cdx.json
	@.ci/rust-sbom build/sbom/rust.cdx.json
	@ls -l build/sbom

licenses: build ## Licences of everything that is carried along: build/licenses/THIRD-PARTY.txt
	@$(PYTHON) deploy/supply/licenses build/licenses/THIRD-PARTY.txt

# Trivy is run from its Go module: by version, and by Go's checksum database.
TRIVY := go run github.com/aquasecurity/trivy/cmd/trivy@v0.74.0
IMAGE ?= audio-extract:dev
scan: ## Known vulnerabilities in an image, failing on high ones that could be mended; IMAGE=… (needs Go and Trivy's data)
	@$(TRIVY) image --quiet --ignore-unfixed --severity HIGH,CRITICAL --exit-code 1 $(IMAGE)

sbom-image: ## What is inside an image, as CycloneDX: build/sbom/image.cdx.json; IMAGE=… (needs Go)
	@mkdir -p build/sbom
	@$(TRIVY) image --quiet --format cyclonedx --output build/sbom/image.cdx.json $(IMAGE)

##@ Docker and deployment
.PHONY: docker-run docker-run-prod docker-logs docker-stop setup-gcs mount unmount example
COMPOSE ?= docker-compose.yml

docker-run: ## Development in containers, emulators included (docker-compose.yml): http://127.0.0.1:8080
	@docker compose --file docker-compose.yml up --detach --wait $(ARGS)
	@docker compose --file docker-compose.yml logs audio-extract 2>&1 | grep -o 'http://[^ ]*token=[^ ]*' | tail -1

docker-run-prod: ## Production in containers (docker-compose.prod.yml); first deploy/compose/prepare, and .env
	@docker compose --file docker-compose.prod.yml up --detach --wait $(ARGS)

docker-logs: ## What the containers say, as they say it; COMPOSE=docker-compose.prod.yml
	@docker compose --file $(COMPOSE) logs --follow --tail 100 $(ARGS)

docker-stop: ## Stop the containers in order; what they stored stays; COMPOSE=docker-compose.prod.yml
	@docker compose --file $(COMPOSE) down $(ARGS)

setup-gcs: ## Make a bucket and an account that may use it, with gcloud; PROJECT=… BUCKET=… ARGS=--dry-run
	@deploy/gcs/setup "$(PROJECT)" "$(BUCKET)" $(ARGS)

MOUNT_POINT ?= $(HOME)/audio-extracts
example: build ## A worked example: sample recordings of a folder become audio in another (examples/), in build/example
	@examples/run $(APP) build/example

mount: ## Mount a bucket as a folder with gcsfuse; BUCKET=… MOUNT_POINT=…
	@deploy/gcs/mount "$(BUCKET)" "$(MOUNT_POINT)" $(ARGS)

unmount: ## Unmount it again; MOUNT_POINT=…
	@deploy/gcs/unmount "$(MOUNT_POINT)"

##@ Clean
.PHONY: clean
clean: ## Remove everything that was built
	@rm -rf .venv build dist target demo-data .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -f python/audio_extract/_engine*.so

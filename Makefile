# Two commands on a fresh machine with Python 3.11+, git and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check faults bench conformance-mcp clients-mcp lock clean
setup: .venv/ready

# uv when present (faster), else venv and pip; the same hashed locks either way.
.venv/ready: requirements/dev.txt pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --allow-existing --python $(PYTHON) .venv && \
	  uv pip install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt && \
	  uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt && \
	  $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

# Other people's programs, each in an environment of its own: the upstream that the demo governs, and what tries the control plane
# against its own description.
.envs/upstream/ready: requirements/demo-upstream.txt
.envs/api/ready: requirements/api-checks.txt
.envs/everything/ready: requirements/mcp-everything.txt
.envs/mcp1/ready: requirements/mcp1.txt
.envs/upstream/ready .envs/api/ready .envs/everything/ready .envs/mcp1/ready: .envs/%/ready:
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --allow-existing --python $(PYTHON) .envs/$* && \
	  uv pip install -q --python .envs/$*/bin/python --require-hashes -r $^; \
	else \
	  $(PYTHON) -m venv .envs/$* && \
	  .envs/$*/bin/pip install -q --disable-pip-version-check --require-hashes -r $^; \
	fi
	@touch $@

# The official MCP conformance suite, and other people's clients: Node programs by their locks; no script of a package is run.
.envs/conformance/ready .envs/clients/ready: .envs/%/ready: requirements/%/package.json requirements/%/package-lock.json
	@mkdir -p .envs/$* && cp $^ .envs/$* && cd .envs/$* && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

# The sdist of the official SDK carries the server and the client that the suite is run with; none of it is kept in this repository.
.envs/sdist/ready: .envs/everything/ready
	@rm -rf .envs/sdist && mkdir -p .envs/sdist
	@sed -n '/^mcp==/,/^    # via/p' requirements/mcp-everything.txt > .envs/sdist/mcp.txt
	@.envs/everything/bin/python -m pip download -q --disable-pip-version-check --no-deps --no-binary mcp --no-build-isolation \
	  --require-hashes -r .envs/sdist/mcp.txt -d .envs/sdist
	@tar xzf .envs/sdist/mcp-*.tar.gz -C .envs/sdist --strip-components 1
	@touch $@

demo: setup .envs/upstream/ready
	@$(BIN)/helm-ai-kernel demo --upstream .envs/upstream/bin/mcp-server-time

test: setup .envs/upstream/ready
	@$(BIN)/python -m pytest

# Style, types, who may import whom, and whether the documents are true. The walks are made anew by `make test` only.
check: setup
	@$(BIN)/ruff check src tests
	@$(BIN)/ruff format --check src tests
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_layers.py tests/test_ci.py tests/docs --ignore tests/docs/test_docs_walks.py

# The exhaustive forms of what `make test` samples: every bit, every storage system call.
faults: setup .envs/upstream/ready .envs/api/ready
	@$(BIN)/python -m pytest -m whole

# The official suite, both legs, both revisions, through the gateway; without it: `make conformance-mcp OPTIONS=--direct`.
conformance-mcp: setup .envs/conformance/ready .envs/sdist/ready
	@$(BIN)/python tests/conformance/run.py $(OPTIONS)

# Other people's clients against the gateway, over both transports, in every era that they speak.
clients-mcp: setup .envs/clients/ready .envs/mcp1/ready .envs/sdist/ready
	@$(BIN)/python -m pytest -m clients tests/clients

bench: setup
	@$(BIN)/helm-ai-kernel bench

lock:
	uv pip compile -q pyproject.toml --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/runtime.txt
	uv pip compile -q pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/dev.txt
	uv pip compile -q requirements/demo-upstream.in --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/demo-upstream.txt
	uv pip compile -q requirements/api-checks.in --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/api-checks.txt
	uv pip compile -q requirements/mcp-everything.in --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/mcp-everything.txt
	uv pip compile -q requirements/mcp1.in --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -o requirements/mcp1.txt
	for one in conformance clients; do (cd requirements/$$one && npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund); done

clean:
	rm -rf .venv .envs build dist src/*.egg-info

# Everything runs in .venv, which jobs/set_up makes. A target that needs more packages downloads them
# the first time; after that only audit needs the network.
PYTHON ?= python3

# An activated environment. Spark's scripts look for python3 on PATH, unless a variable that was
# meant for another Spark sends them elsewhere; and no Python is to find another's packages first.
IN_VENV := env -u SPARK_HOME -u SPARK_CONF_DIR -u HADOOP_CONF_DIR -u YARN_CONF_DIR -u PYSPARK_PYTHON -u PYSPARK_DRIVER_PYTHON \
	-u PYTHONPATH PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help demo airflow bench bench-refresh test test-faults test-gate test-report test-sql test-bench test-airflow audit check clean train compare \
	known-labels environment test-environment airflow-environment train-environment comparison-environment

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Of the demo: --master 'local[2]', say.
SPARK_OPTIONS ?=

demo: environment ## Set up, then run the main job on the built-in demo catalog.
	@$(IN_VENV) spark-submit $(SPARK_OPTIONS) jobs/enrich_catalog.py

airflow: environment airflow-environment ## Set up, then run a local Airflow with the DAGs until Ctrl-C.
	@$(PYTHON) -m jobs.serve_airflow

# Two at a time: what most tests wait for is one thread of Java's.
test: test-environment ## Set up with what the tests need, then run them.
	@$(IN_VENV) pytest -n 2 --dist loadfile

# All that is skipped without LONG_TESTS=1, but for what the next targets run.
LONG_FILES = $(filter-out tests/bench/% tests/enrich/report/% tests/spark/test_report.py tests/spark/test_views.py, \
	$(sort $(shell grep -rl 'from long_tests import' tests --include='test_*.py')))

test-faults: test-environment ## Kill runs, spoil rows, images and storage; the last line counts it all.
	@rm -f build/faults.json
	@LONG_TESTS=1 $(IN_VENV) pytest tests/faults tests/cluster $(LONG_FILES); code=$$?; cat build/faults.json; exit $$code

test-gate: test-environment ## Measure the quality gate: false alarms on sound runs, faults it must find.
	@$(IN_VENV) python -m bench.gate

test-report: test-environment ## Test the page of a run, in headless Chromium too.
	@LONG_TESTS=1 SCREENSHOTS=screenshots $(IN_VENV) pytest tests/enrich/report tests/spark/test_report.py

test-sql: test-environment ## Run every view and every example of docs/tables.md.
	@LONG_TESTS=1 $(IN_VENV) pytest tests/spark/test_views.py

test-bench: ## Hold the answers of the benchmark's peers against ours.
	@$(PYTHON) -m jobs.set_up --extra bench --extra test
	@LONG_TESTS=1 $(IN_VENV) pytest tests/bench

test-airflow: test-environment airflow-environment ## Run the DAGs: a real scheduler, Spark and Delta.
	@env -u PYTHONPATH .venv-airflow/bin/python -m pytest -c tests/airflow_dags/pytest.ini \
		--confcutdir tests/airflow_dags tests/airflow_dags

bench: ## Set up with the peers, then time inference by stages: floors, engine, Spark job, peers. Long.
	@$(PYTHON) -m jobs.set_up --extra bench
	@$(IN_VENV) python jobs/bench_inference.py

# In an environment of its own, so that the job's holds nothing but the job. Strict: a package that
# cannot be looked up is no package without a vulnerability.
audit: test-environment ## Look all installed packages up among known vulnerabilities.
	@test -x .venv-audit/bin/pip-audit || \
		{ $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install --quiet 'pip-audit>=2.9'; }
	@code=0; for packages in $(wildcard .venv/lib/python3.*/site-packages .venv-airflow/lib/python3.*/site-packages); do \
		echo "$$packages"; .venv-audit/bin/pip-audit --strict --skip-editable --path $$packages || code=1; \
	done; exit $$code

bench-refresh: environment ## Time a refresh of 1,000,000 products, 1 % changed, beside the first pass.
	@$(IN_VENV) python jobs/bench_refresh.py

check: test-environment ## Lint, check the format and check the types.
	@$(IN_VENV) ruff check
	@$(IN_VENV) ruff format --check
	@$(IN_VENV) mypy

clean: ## Remove ALL local tables and pages, the demo catalog and Airflow's home; .venv stays.
	rm -rf lakehouse demo_catalog .demo_catalog.building-* airflow_home screenshots build .pytest_cache .mypy_cache .ruff_cache

# Always asked: jobs.set_up knows by itself whether there is anything to do.
environment:
	@$(PYTHON) -m jobs.set_up

test-environment:
	@$(PYTHON) -m jobs.set_up --extra test

# Airflow's packages and the job's do not go together.
airflow-environment:
	@$(PYTHON) -m jobs.set_up.airflow

# Labelled catalog folders to train on, and some to evaluate on only.
CATALOGS ?=
STRANGE_SHOPS ?=
# Graphics cards of this machine to train on together.
GPUS ?= 1
TRAIN = $(IN_VENV) $(if $(filter-out 1,$(GPUS)),torchrun --standalone --nproc-per-node $(GPUS),python) \
	jobs/train_classifier.py $(addprefix --catalog ,$(CATALOGS)) --set cache=$(CACHE)
TOWER = trained/image-tower
# Pictures are decoded, and looked at by the frozen tower, once for all of them.
CACHE = trained/cache
# The recipe of a comparison; `trained/comparison` is that of training_comparison.yaml.
CONFIG ?= jobs/conf/training_comparison.yaml
COMPARISON = trained/$(patsubst training_%,%,$(basename $(notdir $(CONFIG))))
# A recipe with other towers than the small ones, which it need not name, brings its own.
OTHER_TOWERS = $(shell grep '^towers:' $(CONFIG) | grep -vE "^towers: *[\"']?small[\"']?([[:space:]]|$$)")
SHARED_TOWER = $(if $(wildcard $(CONFIG)),$(if $(OTHER_TOWERS),,$(TOWER)))
COMPARED = cma_clip clip_mlp clip_sum clip_transformer clip_zero_shot mmbt embracenet perceiver_io \
	coca single_stream image_only text_only
# The first is the paper's CMA-CLIP: nothing is fitted to the validation groups that others lack.
ABLATIONS = without-trust without-modality-wise without-both

# Two towers that each see one half of the groups say what the other half looks like.
train: known-labels $(TOWER) trained/half-0 trained/half-1 ## Train the bundled checkpoint again: CATALOGS="shop/ ..." STRANGE_SHOPS="other/".
	$(TRAIN) $(addprefix --strange-shop ,$(STRANGE_SHOPS)) --set image_tower=$(TOWER) \
		--set 'opinions=[trained/half-0.opinions.npz, trained/half-1.opinions.npz]' \
		--output trained/cma-clip-small

ifneq ($(filter train,$(MAKECMDGOALS)),)
$(TOWER) trained/half-0 trained/half-1: | known-labels
endif

# The last step alone wants the bundled labels, hours after the towers, which take any.
known-labels: | train-environment
	@$(IN_VENV) python jobs/train_classifier.py --check $(addprefix --catalog ,$(CATALOGS)) \
		$(addprefix --strange-shop ,$(STRANGE_SHOPS)) --output trained/cma-clip-small

compare: $(COMPARED:%=$(COMPARISON)/%) $(ABLATIONS:%=$(COMPARISON)/%) ## Train every classifier alike on CATALOGS, by the recipe CONFIG, and compare them.
	$(IN_VENV) python jobs/evaluate_classifiers.py --output $(COMPARISON)/report --cache $(CACHE) \
		$(addprefix --checkpoint ,$^) $(addprefix --catalog ,$(CATALOGS)) \
		$(addprefix --strange-shop ,$(STRANGE_SHOPS))

# A folder that is there is done: a killed training goes on when make is called again.
COMPARE = $(TRAIN) --config $(CONFIG) $(addprefix --set image_tower=,$(SHARED_TOWER)) --output $@

$(TOWER): | train-environment
	$(TRAIN) --config jobs/conf/training_image_tower.yaml --output $@

trained/half-%: | train-environment
	$(TRAIN) --config jobs/conf/training_image_tower.yaml --set half=$* --output $@

$(COMPARISON)/without-trust: | comparison-environment $(SHARED_TOWER)
	$(COMPARE) --set fit_trust=false --name $(@F)

$(COMPARISON)/without-modality-wise: | comparison-environment $(SHARED_TOWER)
	$(COMPARE) --set modality_wise=false --name $(@F)

$(COMPARISON)/without-both: | comparison-environment $(SHARED_TOWER)
	$(COMPARE) --set modality_wise=false --set sequence_wise=false --name $(@F)

$(COMPARISON)/%: | comparison-environment $(SHARED_TOWER)
	$(COMPARE) --classifier $* --name $*

comparison-environment:
	@$(PYTHON) -m jobs.set_up --extra train --extra coca

train-environment:
	@$(PYTHON) -m jobs.set_up --extra train

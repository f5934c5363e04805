# Everything runs in .venv, which jobs/set_up.py makes. A target that needs more packages downloads
# them the first time; after that only audit and lock need the network.
PYTHON ?= python3

# An activated environment. Spark's scripts look for python3 on PATH, unless a variable that was
# meant for another Spark sends them elsewhere; and no Python is to find another's packages first.
IN_VENV := env -u SPARK_HOME -u SPARK_CONF_DIR -u HADOOP_CONF_DIR -u YARN_CONF_DIR -u PYSPARK_PYTHON -u PYSPARK_DRIVER_PYTHON \
	-u PYTHONPATH PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help demo airflow docs bench bench-refresh test test-all test-faults test-mutations test-gate test-report test-sql test-bench test-airflow audit lock check clean train compare parameters \
	known-labels environment test-environment airflow-environment train-environment comparison-environment

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Of the demo: --master 'local[2]', say.
SPARK_OPTIONS ?=

# The first one after a set-up lets Java keep the classes that it has loaded, for quicker starts.
CLASSES = $(CURDIR)/.venv/spark-classes.jsa
demo: environment ## Set up, then run the main job on the built-in demo catalog.
	@if test .venv/spark-classes.jsa -nt .venv/set_up.json; then \
		$(IN_VENV) spark-submit $(SPARK_OPTIONS) jobs/enrich_catalog.py; \
	else \
		rm -f "$(CLASSES)"; \
		$(IN_VENV) SPARK_SUBMIT_OPTS='-Xlog:cds*=off -XX:ArchiveClassesAtExit="$(CLASSES).part"' \
			spark-submit $(SPARK_OPTIONS) jobs/enrich_catalog.py && \
			{ test ! -e "$(CLASSES).part" || mv "$(CLASSES).part" "$(CLASSES)"; }; \
	fi

airflow: environment airflow-environment ## Set up, then run a local Airflow with the DAGs until Ctrl-C.
	@airflow_dags/local.sh

# Two at a time: what most tests wait for is one thread of Java's.
PYTEST = $(IN_VENV) pytest -n 2 --dist loadfile
# Benchmarks have packages of their own, and Airflow an environment.
NOT_HERE = --ignore tests/bench --ignore tests/airflow_dags

test: test-environment ## Set up with what the tests need, then run all but the long ones.
	@$(PYTEST) $(NOT_HERE) -m "not long"

# These wait for stores, servers and clusters: make test-faults runs them.
SLOW_FAULTS = $(addprefix --ignore tests/,cluster deploy/test_image.py spark/test_connect.py \
	faults/test_shared_metastore.py faults/test_silent_store.py)

# What takes minutes fails before what takes most of an hour begins.
WITHOUT_SPARK = $(addprefix tests/,unit deploy demo enrich) $(wildcard tests/test_*.py)
# No process is left alone with a long file at the end.
WITH_SPARK = --no-loadscope-reorder $(addprefix tests/,spark faults jobs expectations)

test-all: test-environment ## Run every test but the slow faults and the DAGs', and hold them against docs/promises.md.
	@rm -rf build/tests && mkdir -p build/tests
	@$(PYTEST) $(SLOW_FAULTS) $(WITHOUT_SPARK) --junitxml build/tests/without_spark.xml --durations 10
	@$(PYTEST) $(SLOW_FAULTS) $(WITH_SPARK) --junitxml build/tests/with_spark.xml --durations 25
	@$(IN_VENV) python tests/promises.py build/tests/*.xml

test-faults: test-environment ## Kill runs and executors, spoil rows, images and storage: all cases; the last line counts.
	@rm -f build/faults.json
	@ALL_CASES=1 SEQUENCES=300 COMMANDS=20 EXECUTORS_LOST=20 FEED_SEQUENCES=10 $(IN_VENV) pytest tests/faults tests/cluster \
		tests/deploy/test_image.py $(addprefix tests/spark/,test_random_sequences.py test_interleavings.py \
		test_changes.py test_connect.py); code=$$?; cat build/faults.json; exit $$code

test-mutations: test-environment ## Break each promise of the refresh once, and expect its test to fail.
	@$(IN_VENV) python tests/mutations.py

test-gate: test-environment ## Measure the quality gate: false alarms on sound runs, faults it must find.
	@$(IN_VENV) python -m bench.gate

test-report: test-environment ## Test the page of a run, in headless Chromium too.
	@SCREENSHOTS=screenshots $(IN_VENV) pytest tests/enrich/report tests/spark/test_report.py

test-sql: test-environment ## Run every view and every example of docs/tables.md.
	@$(IN_VENV) pytest tests/spark/test_views.py

test-bench: ## Hold the answers of the other systems in the benchmark against ours.
	@$(PYTHON) -m jobs.set_up bench test
	@$(IN_VENV) pytest tests/bench

test-airflow: test-environment airflow-environment ## Run the DAGs: a real scheduler, Spark and Delta.
	@env -u PYTHONPATH .venv-airflow/bin/python -m pytest -c tests/airflow_dags/pytest.ini \
		--confcutdir tests/airflow_dags tests/airflow_dags

bench: ## Time inference by stages: upper bounds, engine, Spark job, other systems. Long.
	@$(PYTHON) -m jobs.set_up bench
	@$(IN_VENV) python -m bench.inference

# Strict: a package that cannot be looked up is no package without a vulnerability.
audit: test-environment ## Look all installed packages up among known vulnerabilities.
	@code=0; for packages in $(wildcard .venv/lib/python3.*/site-packages .venv-airflow/lib/python3.*/site-packages); do \
		echo "$$packages"; .venv/bin/uv tool run pip-audit --strict --skip-editable --path $$packages || code=1; \
	done; exit $$code

# Keeps the versions that are pinned, as far as pyproject.toml lets it: UPGRADE=--upgrade takes the newest.
UPGRADE ?=
LOCK = .venv/bin/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header
docs: environment ## Write the tables of docs/settings.md from the settings' fields.
	@$(IN_VENV) PYTHONPATH=. python docs/generate.py

lock: environment ## Pin all packages anew, with hashes and for all machines, in requirements/.
	@$(LOCK) pyproject.toml --all-extras --output-file requirements/lock.txt
	@$(LOCK) airflow_dags/requirements.txt --output-file requirements/airflow.txt

bench-refresh: environment ## Time a refresh of 1,000,000 products, 1 % changed, beside the first pass.
	@$(IN_VENV) python -m bench.refresh_ratio

check: test-environment ## Lint, check the format and check the types.
	@$(IN_VENV) ruff check
	@$(IN_VENV) ruff format --check
	@$(IN_VENV) mypy

clean: ## Remove ALL local tables and pages, the demo catalog and Airflow's home; .venv stays.
	rm -rf lakehouse demo_catalog .demo_catalog.partial airflow_home screenshots build .pytest_cache .mypy_cache .ruff_cache

# Always asked: jobs.set_up knows by itself whether there is anything to do.
environment:
	@$(PYTHON) -m jobs.set_up

test-environment:
	@$(PYTHON) -m jobs.set_up test

# Airflow's packages and the job's do not go together.
airflow-environment: environment
	@test -x .venv-airflow/bin/python || .venv/bin/uv venv --quiet .venv-airflow
	@.venv/bin/uv pip sync --quiet --python .venv-airflow --require-hashes requirements/airflow.txt

# Labelled catalog folders to train on, and some to evaluate on only.
CATALOGS ?=
UNSEEN_SOURCES ?=
# Graphics cards of this machine to train on together.
GPUS ?= 1
TRAIN = $(IN_VENV) $(if $(filter-out 1,$(GPUS)),torchrun --standalone --nproc-per-node $(GPUS),python) \
	jobs/train_classifier.py $(addprefix --catalog ,$(CATALOGS)) --set cache=$(CACHE)
# What was trained on other catalogs, or without other goods, is not taken for what is asked for.
digest = $(shell printf '%s' '$(subst ','\'',$(1))' | cksum | cut -d ' ' -f 1)
TRAINED := trained/on-$(call digest,$(CATALOGS))
TOWER = $(TRAINED)/image-tower
# The phase of training_image_tower.yaml, with other epochs.
tower_epochs = --set 'phases=[{loss: multitask, epochs: $(1), learning_rate: 1.0e-3, \
	tower_learning_rate: 8.0e-4, upper_stages_only: true, views: 3}]'
HALF_TOWERS = --set 'half_towers=[$(TRAINED)/half-0, $(TRAINED)/half-1]'
# Pictures are decoded, and looked at by the frozen tower, once for all of them.
CACHE = trained/cache
# What all systems of a comparison share; a recipe with towers of its own needs none trained before.
CONFIG ?= bench/training_comparison.yaml
RECIPE = $(patsubst training_%,%,$(basename $(notdir $(CONFIG))))
SMALL_TOWERS := $(if $(shell grep -s '^towers: small' $(CONFIG)),image text)
# Flags for some of the runs, such as --system cma_clip --seeds 1.
RUNS ?=
# Kinds of goods to train without and to measure on, by columns of products.parquet.
LEAVE_OUT ?= {}
COMPARISON := trained/$(RECIPE)-$(call digest,$(CATALOGS) $(LEAVE_OUT))
LEFT_OUT = --set 'leave_out=$(LEAVE_OUT)'

# What follows the tower learns from pictures as that tower of two sees them which does not know them.
train: known-labels $(TOWER) $(TRAINED)/half-1 ## Train the bundled checkpoint again: CATALOGS="shop/ ..." UNSEEN_SOURCES="other/".
	$(TRAIN) $(addprefix --unseen-source ,$(UNSEEN_SOURCES)) --set image_tower=$(TOWER) \
		$(HALF_TOWERS) --output trained/cma-clip-small

ifneq ($(filter train,$(MAKECMDGOALS)),)
$(TOWER) $(TRAINED)/half-0 $(TRAINED)/half-1: | known-labels
endif

# The last step alone wants the bundled labels, hours after the towers, which take any.
known-labels: | train-environment
	@$(IN_VENV) python jobs/train_classifier.py --check $(addprefix --catalog ,$(CATALOGS)) \
		$(addprefix --unseen-source ,$(UNSEEN_SOURCES)) --output trained/cma-clip-small

compare: $(SMALL_TOWERS:%=$(COMPARISON)/%-tower) | comparison-environment ## Train every system alike on frozen towers, on CATALOGS without the kinds LEAVE_OUT.
	$(IN_VENV) python -m bench.comparison --config $(CONFIG) --folder $(COMPARISON) --output $(COMPARISON)/comparison.md $(RUNS) \
		--set cache=$(CACHE) $(LEFT_OUT) $(foreach half,$(SMALL_TOWERS),--set $(half)_tower=$(COMPARISON)/$(half)-tower) \
		$(addprefix --catalog ,$(CATALOGS)) $(addprefix --unseen-source ,$(UNSEEN_SOURCES))

parameters: | comparison-environment ## Print parameters and FLOPs of every system at ViT-B/32 and BERT-base, without data or weights.
	@$(IN_VENV) python -m bench.parameters

# It goes on from the first half's, so it takes fewer epochs.
$(TOWER): | train-environment $(TRAINED)/half-0
	$(TRAIN) --config jobs/conf/training_image_tower.yaml --set image_tower=$(TRAINED)/half-0 \
		$(call tower_epochs,3) --output $@

$(TRAINED)/half-0: | train-environment
	$(TRAIN) --config jobs/conf/training_image_tower.yaml --set half=0 --output $@

$(TRAINED)/half-1: | train-environment
	$(TRAIN) --config jobs/conf/training_image_tower.yaml --set half=1 $(call tower_epochs,4) --output $@

# Towers of a comparison are trained on one half of the groups, heads on the other.
$(COMPARISON)/image-tower: | train-environment
	$(TRAIN) --config jobs/conf/training_image_tower.yaml --set half=0 $(LEFT_OUT) $(subst views: 3,views: 2,$(call tower_epochs,4)) \
		--output $@

$(COMPARISON)/text-tower: | train-environment
	$(TRAIN) --config $(CONFIG) --set half=0 $(LEFT_OUT) --classifier text_only --name text-tower \
		--output $@

comparison-environment:
	@$(PYTHON) -m jobs.set_up train open-clip

train-environment:
	@$(PYTHON) -m jobs.set_up train

# The one task runner, for people and for CI. `make` alone lists the tasks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-slurm check format docs bench gpu gpu-study rules weight-map intervals family healthy fuzz memory mutation studies answers report-size results dist test-wheel test-lowest packaging clean preparing training-speed

help: ## list the tasks
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

demo: $(VENV)/.installed-study ## train on real images under five losses and write runs/demo/report.html (options: ARGS="--help")
	@$(BIN)/dilated-ce demo $(ARGS)

test: $(VENV)/.installed-dev ## run the tests, doctests and examples (options: ARGS="-k loss")
	@# The coverage is that of all of these tests, and has a limit: not of some of them.
	$(BIN)/pytest -n auto $(or $(ARGS),--cov --cov-report=term:skip-covered)

test-slow: $(VENV)/.installed-dev ## run the tests that start whole programs: nnU-Net, Ray, killed runs
	$(BIN)/pytest -n auto -m slow $(ARGS)

test-slurm: $(VENV)/.installed-dev ## test the engine slurm in a Slurm of one node, which is started for it (needs root, and Debian's slurm-wlm and munge)
	tools/with_slurm.sh $(BIN)/pytest -n 0 -m slow tests/study/runs/test_slurm_real.py $(ARGS)

check: $(VENV)/.installed-dev ## lint, formatting, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## format the code and apply safe fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-docs ## build the documentation site into site/, strictly (while you write: ARGS=serve)
	@# Material prints an advertisement for its successor otherwise.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(or $(ARGS),build --quiet)

bench: $(VENV)/.installed-bench ## measure speed and memory beside other losses (options: ARGS="--quick --device cuda")
	$(BIN)/python benchmarks/run.py $(ARGS)

gpu: ## is the loss right and fast on this GPU? ten minutes, needs PyTorch alone (PYTHON=one that has it)
	PYTHONPATH=src $(PYTHON) benchmarks/gpu.py $(ARGS)

gpu-study: $(VENV)/.installed-study,nnunet ## the studies for a machine with a GPU, such as nnU-Net's hippocampus, on the data under DILATED_CE_DATA (hours; it resumes)
	$(BIN)/python benchmarks/gpu_study.py $(ARGS)

rules: $(VENV)/.installed-study ## repeat the search for the adaptive rule on the data under DILATED_CE_DATA (hours; it resumes)
	$(BIN)/python results/rules/search.py run --stage screen
	$(BIN)/python results/rules/search.py run --stage final
	$(BIN)/python results/rules/search.py table

studies: $(VENV)/.installed-study ## run what is missing in the evidence study, on the data under DILATED_CE_DATA (days; it resumes)
	PYTHONPATH=results/evidence $(BIN)/python results/evidence/claims.py run $(ARGS)

answers: $(VENV)/.installed-study ## open the test parts of the evidence study, when all runs of a group are there (ARGS="--group main")
	PYTHONPATH=results/evidence $(BIN)/python results/evidence/answers.py $(ARGS)

weight-map: $(VENV)/.installed-study ## train with the weight map in the loss and by the transform (options: ARGS="--data DIR")
	$(BIN)/python benchmarks/weight_map.py $(ARGS)

preparing: $(VENV)/.installed-study ## measure the preparation of cases beside plain reading and writing (ARGS="--number 30")
	$(BIN)/python benchmarks/preparing.py $(ARGS)

training-speed: $(VENV)/.installed-study ## measure steps per second and memory of runs beside a bare loop
	$(BIN)/python benchmarks/training_speed.py $(ARGS)

intervals: $(VENV)/.installed-study ## simulate how often the 95 % interval of a comparison holds the truth
	$(BIN)/python benchmarks/coverage_of_intervals.py $(ARGS)

family: $(VENV)/.installed-study ## simulate how often a comparison of equal losses gives a wrong verdict
	$(BIN)/python benchmarks/family_of_losses.py $(ARGS)

healthy: $(VENV)/.installed-study ## simulate what a comparison says about false alarms in healthy patients
	$(BIN)/python benchmarks/healthy_cases.py $(ARGS)

report-size: $(VENV)/.installed-study ## measure the time and memory of a report on up to 750,000 scores (options: ARGS="--quick")
	$(BIN)/python benchmarks/report_size.py $(ARGS)

fuzz: $(VENV)/.installed-dev ## throw 100,000 random calls, valid and wrong, at the loss (options: ARGS="--seed 1 --only 4711")
	$(BIN)/python benchmarks/hardening/fuzz.py $(ARGS)

memory: $(VENV)/.installed-dev ## train for 2,000 steps with ever-changing shapes and watch the memory
	$(BIN)/python benchmarks/hardening/memory_growth.py $(ARGS)

mutation: $(VENV)/.installed-dev ## change the core in 2,600 places, one at a time, and see whether the tests notice (two hours)
	$(BIN)/python benchmarks/hardening/mutation.py $(ARGS)

results: answers ## recompute every table and figure of README and docs/results.md from results/
	$(BIN)/python docs/figures/border_bias.py
	$(BIN)/python docs/figures/weight_maps.py
	$(BIN)/python tools/update_readme.py
	$(BIN)/python tools/update_results.py
	$(BIN)/python tools/update_quality.py

dist: $(VENV)/.installed-release ## build wheel and source distribution of the last commit, twice, and check them
	$(BIN)/python tools/dist.py

test-wheel: dist $(VENV)/.installed-dev ## test the wheel in its own environment
	tools/test_wheel.sh $(BIN)/python

test-lowest: dist ## run the tests with the oldest packages that are allowed (gigabytes; PYTHON=python3.10)
	tools/test_lowest.sh $(PYTHON)

packaging: dist ## install every extra, and time the import: results/packaging/
	$(BIN)/python tools/check_extras.py
	$(BIN)/python benchmarks/import_time.py

clean: ## remove the environment and all caches (not runs/)
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage*

$(VENV)/.installed-%: pyproject.toml constraints.txt tools/setup.sh
	@tools/setup.sh $(PYTHON) $(VENV) $*

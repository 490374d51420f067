#!/usr/bin/env bash
# Run the tests on the wheel in dist/ with the oldest versions that pyproject.toml allows: the newest patch of the
# minor version that each bound names. On Linux, PyPI's torch of that age brings CUDA: 3 GB.
#
#   make test-lowest PYTHON=python3.10
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
folder=build/lowest
rm -rf "$folder"
mkdir -p build
"$python" -m venv "$folder"
"$folder/bin/python" - <<'PY' >"$folder/lowest.txt"
import re
from pathlib import Path

text = Path("pyproject.toml").read_text()
parts = (("\ndependencies", "# Spreading the runs"), ("\nmonai = [", "# The documentation site"))
wanted = "".join(text[text.index(first) : text.index(last)] for first, last in parts)
for name, bound in sorted(set(re.findall(r'"([a-z0-9-]+)>=([0-9.]+)"', wanted))):
    major, minor = (bound.split(".") + ["0"])[:2]
    print(f"{name}=={major}.{minor}.*")
PY
cat "$folder/lowest.txt"
# torch's compiler of that age asks for setuptools, and does not say so.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary \
  --constraint "$folder/lowest.txt" "$(ls dist/*.whl)[study,monai,nnunet]" hypothesis pytest pytest-xdist setuptools
# Warnings of old libraries about each other are none of ours.
run() {
  "$folder/bin/python" -m pytest -q -n auto -p no:cacheprovider -W default \
    --junitxml "$folder/$1.xml" "${@:2}" || true # the table tells
}
run core tests/test_{ball,masks,dilation,radius,shares,weighting,weighted_ce,loss,target,options,compile}.py
run monai tests/integrations/test_monai.py
run nnunet tests/integrations/test_nnunet.py
run study tests/test_{hostile_inputs,inspection,cli,cli_compare}.py tests/study
"$folder/bin/python" tools/lowest_versions.py "$folder"

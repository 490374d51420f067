#!/usr/bin/env bash
# Test the wheel in dist/ where nothing of this folder is: a new virtual environment with the wheel and what it
# requires, then with what the tests of the core need, then with the extra `study`.
#
#   make test-wheel
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
wheel=$(ls "$PWD"/dist/*.whl)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
bin=$folder/venv/bin

install() { "$bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "$@"; }

echo "The wheel alone ..."
install "$wheel"
cat >"$folder/user.py" <<'PY'
import sys

import torch

import dilated_ce
from dilated_ce import AdaptiveDilatedCELoss, DilatedBalancedCELoss, dilated_balanced_weights

criterion = DilatedBalancedCELoss(2.0)
logits = torch.randn(2, 3, 16, 16, requires_grad=True)
labels = torch.randint(0, 3, (2, 16, 16))
loss = criterion(logits, labels) + AdaptiveDilatedCELoss()(logits, labels)
loss.backward()
weights: torch.Tensor = dilated_balanced_weights(labels, 2.0, num_classes=3)
assert torch.isfinite(loss) and logits.grad is not None and weights.shape == labels.shape
assert dilated_ce.__file__.startswith(sys.prefix), dilated_ce.__file__
PY
(cd "$folder" && "$bin/python" user.py)
(cd "$folder" && "$bin/dilated-ce" --help 2>&1 || true) | grep -q "pip install 'dilated-ce\[study\]'" || {
  echo "Without its libraries the command does not say how to install them."
  exit 1
}
# Types are there, and are used: a wrong argument is found.
echo 'dilated_ce.DilatedBalancedCELoss(radius=[object()])' | cat "$folder/user.py" - >"$folder/wrong.py"
types=(.venv/bin/python -m mypy --config-file= --strict --python-executable "$bin/python" --cache-dir "$folder/mypy")
MYPYPATH='' "${types[@]}" "$folder/user.py"
if MYPYPATH='' "${types[@]}" "$folder/wrong.py" >/dev/null; then
  echo "mypy does not see the types of the wheel."
  exit 1
fi

echo "The tests of the core on it ..."
install hypothesis pillow pytest scipy
"$bin/python" -m pytest -q -p no:cacheprovider tests/test_{loss,weighting,dilation,radius}.py

echo "With the extra study ..."
install "$wheel[study]"
cd "$folder"
"$bin/dilated-ce" --help >/dev/null
"$bin/dilated-ce" --version
OMP_NUM_THREADS=2 "$bin/dilated-ce" demo --synthetic --losses ce,adaptive-dbce --seeds 1 --steps 5 --device cpu --out demo
grep -q "</html>" demo/report.html

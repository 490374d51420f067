#!/usr/bin/env bash
# Make the virtual environment and install the project into it, with the pinned packages.
# Called by the Makefile, which skips it while nothing has changed since the last time.
#
#   tools/setup.sh PYTHON VENV EXTRA
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2 extra=$3

fail() {
  printf '\nset-up failed: %s\n' "$@" >&2
  exit 1
}

command -v "$python" >/dev/null || fail \
  "'$python' was not found. Install Python >= 3.10 (Debian: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail \
  "'$python' is $("$python" --version 2>&1), but Python >= 3.10 is needed. Name a newer one: make PYTHON=/path/to/python3"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail \
  "'$python' lacks the module venv. On Debian and Ubuntu: apt-get install python3-venv"

# A folder left by an interrupted set-up, or whose Python has gone, is made anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi

echo "Installing dilated-ce[$extra] into $venv (the first time: a minute or two) ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 \
  --constraint constraints.txt --editable ".[$extra]" || fail \
  "the packages could not be installed (see pip's message above). They come from PyPI: check the network, or set PIP_INDEX_URL to a mirror, PIP_PROXY to a proxy, or PIP_FIND_LINKS to a folder with the files of constraints.txt."
if [ "$extra" = dev ] || [ "$extra" = bench ]; then
  # On its own: it requires timm, which it does not import by itself, and with it torchvision. The benchmark needs
  # its losses alone; pyproject.toml names what the tests need beside it.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 \
    --constraint constraints.txt --no-deps nnunetv2 dynamic-network-architectures || fail \
    "nnU-Net could not be installed."
fi
touch "$venv/.installed-$extra"

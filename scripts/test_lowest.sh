#!/usr/bin/env bash
# Installs the lowest versions that pyproject.toml allows and lets them do what a user would.
# Usage: scripts/test_lowest.sh PYTHON   (of an environment in which bgm is installed for development)
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
venv=.venv/lowest
"$python" scripts/lowest.py > .venv/lowest.txt
"$python" -m venv "$venv"
echo "Installing the lowest versions into $venv."
"$venv/bin/python" -m pip install -qq --disable-pip-version-check -c .venv/lowest.txt \
  -e . pytest hypothesis
"$venv/bin/bgm" data=demo_scored output_dir="$(mktemp -d)/run"
"$venv/bin/python" -m pytest -q -p no:cacheprovider \
  tests/test_run.py tests/test_tracking.py tests/test_outputs.py tests/test_decode.py \
  tests/test_checkpoints.py tests/test_compare.py tests/test_align.py

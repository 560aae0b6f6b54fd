#!/usr/bin/env bash
# Installs the lowest versions that pyproject.toml allows and lets them do what a user would.
# Ray and the exports (older OpenVINO cannot read them) are left out.
# Usage: scripts/test_lowest.sh PYTHON   (of an environment in which bgm is installed for development)
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
venv=.venv/lowest
extras=exr,ml,onnx,openvino,optuna,parallel,s3,video
"$python" scripts/lowest.py ${extras//,/ } > .venv/lowest.txt
"$python" -m venv "$venv"
echo "Installing the lowest versions into $venv."
"$venv/bin/python" -m pip install -qq --disable-pip-version-check -c .venv/lowest.txt \
  -e ".[$extras]" pytest hypothesis "aiobotocore[boto3]" "moto[server]"
"$venv/bin/bgm" data=demo_scored output_dir="$(mktemp -d)/run"
"$venv/bin/python" -m pytest -q -p no:cacheprovider \
  tests/test_run.py tests/test_tracking.py tests/test_outputs.py tests/test_decode.py \
  tests/test_checkpoints.py tests/test_compare.py tests/test_align.py tests/test_edges.py \
  tests/test_search.py tests/test_storage.py tests/test_video_read.py tests/test_video_write.py

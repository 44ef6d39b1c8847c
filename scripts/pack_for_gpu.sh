#!/usr/bin/env bash
# Packs the committed checkout, CamVid and the wheels of gpu_wheels.txt, under 60 MB, for a GPU machine that has no network
# but its own Python 3.12 and torch:  scripts/pack_for_gpu.sh CAMVID_FOLDER OUTPUT_FOLDER
# There:  tar xzf segrepro-gpu.tar.gz && cd segrepro-gpu && export PYTHONPATH=$PWD/site:$PWD
#         python3 -m pip install --no-index --no-deps --target site wheels/*.whl && python3 -m segrepro.records
# The arrays of finished runs stay here, for their size: records then says of these runs that they lack some.
# Where a message says .venv/bin/python, say python3.
set -euo pipefail
usage="usage: scripts/pack_for_gpu.sh CAMVID_FOLDER OUTPUT_FOLDER"
: "${1:?$usage}" "${2:?$usage}"
camvid=$(realpath "$1") output=$(realpath -m "$2") stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cd "$(dirname "$0")/.." && mkdir -p "$output"
git archive --prefix=segrepro-gpu/ HEAD -- . ':!notebooks' ':!docs' ':!data/results/*/arrays.safetensors' | tar -x -C "$stage"
cp -r "$camvid" "$stage/segrepro-gpu/camvid"
.venv/bin/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  --constraint requirements.lock --requirement scripts/gpu_wheels.txt --dest "$stage/segrepro-gpu/wheels"
tar -czf "$output/segrepro-gpu.tar.gz" -C "$stage" segrepro-gpu
ls -l "$output/segrepro-gpu.tar.gz" && test "$(wc -c <"$output/segrepro-gpu.tar.gz")" -lt 60000000

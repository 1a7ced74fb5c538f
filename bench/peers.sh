#!/bin/sh
# Makes the environments of the programs that bench/ measures Tenfold against: .venv-peers/trl.
# Run from anywhere: sh bench/peers.sh   (PYTHON names another interpreter)
set -eu
cd "$(dirname "$0")/.."
environment=.venv-peers/trl
"${PYTHON:-python3}" -m venv "$environment"
# torch first and pinned, as in the Makefile: the peer runs on the same torch, and no CUDA libraries come to a CPU machine
"$environment/bin/python" -m pip install --quiet --constraint constraints.txt torch
"$environment/bin/python" -m pip install --quiet --constraint constraints.txt trl==1.16.0 transformers peft datasets
"$environment/bin/python" -c 'import trl, torch; print("trl", trl.__version__, "torch", torch.__version__)'

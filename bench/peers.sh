#!/bin/sh
# Makes the environments that bench/ measures in: .venv-peers/trl, .venv-peers/sentence-transformers, and
# .venv-peers/tenfold with what a plain `pip install .` brings. Each program stands in one of its own: what else is installed is often imported too
# (bitsandbytes and SciPy by peft and transformers: 40 to 80 MB) and would count as its memory.
# `sh bench/peers.sh others` makes those of the row lora_cpu_others: litgpt, llamafactory and torchtune.
# `sh bench/peers.sh gpu` makes those of the rows for a GPU: .venv-peers/gpu-trl, gpu-unsloth and gpu-tenfold. A peer that
# cannot be installed is left out there, and the page says so.
# Run from anywhere: sh bench/peers.sh   (PYTHON names another interpreter)
set -eu
cd "$(dirname "$0")/.."
install() {
    environment=.venv-peers/$1
    shift
    "${PYTHON:-python3}" -m venv "$environment"
    # torch first and pinned, as in the Makefile: all run on the same torch, and no CUDA libraries come to a CPU machine
    "$environment/bin/python" -m pip install --quiet --constraint constraints.txt torch
    "$environment/bin/python" -m pip install --quiet --constraint constraints.txt "$@"
}
if [ "${1:-}" = gpu ]; then
    install gpu-tenfold '.[qlora]'
    for peer in 'trl trl==1.16.0 peft datasets bitsandbytes liger-kernel' 'unsloth unsloth'; do
        # without the constraints: each peer says itself which torch it wants
        environment=.venv-peers/gpu-${peer%% *}
        "${PYTHON:-python3}" -m venv "$environment"
        # shellcheck disable=SC2086
        "$environment/bin/python" -m pip install --quiet ${peer#* } || {
            rm -r "$environment"
            echo "${peer%% *} cannot be installed here; its rows are left out" >&2
        }
    done
    exit 0
fi
if [ "${1:-}" = others ]; then
    # with torch pinned, but not what else the constraints name: each wants versions of its own
    for peer in 'litgpt litgpt==0.5.13 requests' 'llamafactory llamafactory==0.9.5' 'torchtune torchtune==0.6.1 torchao==0.10.0'; do
        environment=.venv-peers/${peer%% *}
        "${PYTHON:-python3}" -m venv "$environment"
        "$environment/bin/python" -m pip install --quiet --constraint constraints.txt torch
        # shellcheck disable=SC2086
        "$environment/bin/python" -m pip install --quiet "$(grep '^torch==' constraints.txt)" ${peer#* }
    done
    # LLaMA-Factory brings builds of these that do not load beside a CPU's torch; it imports the second for audio alone
    .venv-peers/llamafactory/bin/python -m pip uninstall --quiet --yes torchvision torchaudio
    for packages in .venv-peers/llamafactory/lib/python3*/site-packages; do
        touch "$packages/torchaudio.py"
    done
    exit 0
fi
install trl trl==1.16.0 transformers peft datasets
install sentence-transformers sentence-transformers==6.2.0 transformers
install setfit setfit==1.2.0 transformers
install tenfold .
.venv-peers/trl/bin/python -c 'import trl, torch; print("trl", trl.__version__, "torch", torch.__version__)'

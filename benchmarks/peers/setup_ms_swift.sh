#!/bin/sh
# An environment of its own for ms-swift 4.6.0: sh benchmarks/peers/setup_ms_swift.sh VENV [TORCH_VERSION]
# It needs datasets of 4.7 or newer (features.Json), trl below 1.0 and transformers below 5.20.
set -eu
venv=${1:?usage: setup_ms_swift.sh VENV [TORCH_VERSION]}

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c "import torch, torchvision" 2>/dev/null ||
    "$venv/bin/python" -m pip install --quiet "torch${2:+==$2}" torchvision
"$venv/bin/python" -m pip install --quiet setuptools wheel
"$venv/bin/python" -m pip install --quiet --no-build-isolation ms-swift==4.6.0 \
    transformers==5.6.0 trl==0.24.0 peft==0.18.1 datasets==4.8.4 accelerate==1.11.0

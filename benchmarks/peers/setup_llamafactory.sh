#!/bin/sh
# An environment of its own for LLaMA-Factory 0.9.5: sh benchmarks/peers/setup_llamafactory.sh VENV [TORCH]
# Give the torch version of your own environment, so that both run the same kernels: the default is the newest.
# An environment that exists already (for instance a copy of your own) is changed in place; never give your own.
set -eu
venv=${1:?usage: setup_llamafactory.sh VENV [TORCH_VERSION]}
torch=torch${2:+==$2}

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip() { "$venv/bin/python" -m pip "$@"; }

"$venv/bin/python" -c "import torch, torchvision" 2>/dev/null || pip install --quiet "$torch" torchvision

# The pinned ones: the newest that LLaMA-Factory 0.9.5 allows.
pip install --quiet transformers==5.6.0 trl==0.24.0 peft==0.18.1 datasets==4.0.0 accelerate==1.11.0 torchdata==0.11.0
# What it imports when it trains; its web interface and audio are left out.
pip install --quiet "av<=16.0.0" einops fire modelscope hf-transfer omegaconf pandas scipy sentencepiece tiktoken \
    protobuf matplotlib "tyro<0.9.0" fastapi uvicorn sse-starlette pyyaml pillow
pip install --quiet --no-deps llamafactory==0.9.5

# It imports torchaudio, which no image needs and which must match torch to the letter: an empty one will do.
"$venv/bin/python" - <<'PYTHON'
import importlib.util, pathlib, sysconfig
if importlib.util.find_spec("torchaudio") is None:
    folder = pathlib.Path(sysconfig.get_paths()["purelib"]) / "torchaudio"
    folder.mkdir()
    (folder / "__init__.py").write_text('__version__ = "2.9.0"\n')
PYTHON

"$venv/bin/python" -c "
import accelerate, datasets, peft, torch, transformers, trl
print('torch', torch.__version__, 'transformers', transformers.__version__, 'trl', trl.__version__,
      'peft', peft.__version__, 'datasets', datasets.__version__, 'accelerate', accelerate.__version__)"

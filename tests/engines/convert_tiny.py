"""llama.cpp's converter for the tiny model: its tokenizer is not among those that the converter knows by a hash.

``convert_tiny.py LLAMA_CPP ARGUMENTS...`` answers that one question (any byte-level pre-tokenizer does for the tiny model,
which has no merges to speak of) and leaves the rest to ``convert_hf_to_gguf.py``.
"""

import runpy
import sys
from pathlib import Path

folder = Path(sys.argv[1])
sys.path[:0] = [str(folder), str(folder / "gguf-py")]
from conversion.base import TextModel  # noqa: E402

TextModel.get_vocab_base_pre = lambda self, tokenizer: "chatglm-bpe"
sys.argv = [str(folder / "convert_hf_to_gguf.py"), *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")

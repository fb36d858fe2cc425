#!/usr/bin/env python3
"""The given name of `glm-ocr-finetune infer`."""

from glm_ocr_finetune.cli import main

if __name__ == "__main__":
    import sys

    raise SystemExit(main(["infer", *sys.argv[1:]], prog="inference.py"))

"""``python -m glm_ocr_finetune``."""

from .cli import main

raise SystemExit(main())

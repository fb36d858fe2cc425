"""Run in the SDK's environment: what it makes of images, as sizes and digests of pixels. ``ORDER.json ANSWERS.json``"""

import base64
import hashlib
import io
import json
import sys
from pathlib import Path

from glmocr.config import PageLoaderConfig, load_config
from glmocr.utils.image_utils import load_image_to_base64, smart_resize
from PIL import Image

settings: PageLoaderConfig = load_config().pipeline.page_loader
order = json.loads(Path(sys.argv[1]).read_text())


def sent(path):
    data = load_image_to_base64(
        Image.open(path), settings.t_patch_size, settings.max_pixels, settings.image_format, 1, settings.min_pixels
    )
    image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    return [*image.size, hashlib.sha256(image.tobytes()).hexdigest()]


answers = {
    "penalty": settings.repetition_penalty,
    "sizes": [smart_resize(2, h, w, 2, 28, 28, settings.min_pixels, settings.max_pixels) for h, w in order["sizes"]],
    "images": [sent(path) for path in order["images"]],
}
Path(sys.argv[2]).write_text(json.dumps(answers))

"""Run in the SDK's environment: read images with the official SDK as a client. ``ORDER.json TEXTS.json``"""

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from glmocr.config import load_config
from glmocr.pipeline import Pipeline


class WholePage:
    """A layout detector that finds one region of text, the whole image; the SDK has no switch for that."""

    batch_size = 1

    def start(self):
        pass

    def stop(self):
        pass

    def process(self, images, save_visualization=False, global_start_idx=0, use_polygon=False):
        region = {
            "index": 0,
            "label": "text",
            "score": 1.0,
            "bbox_2d": [0, 0, 1000, 1000],
            "polygon": None,
            "task_type": "text",
        }
        return [[dict(region)] for _ in images], {}


order = json.loads(Path(sys.argv[1]).read_text())
address = urlsplit(order["server"])
config = load_config().pipeline
config.maas.enabled = False
config.ocr_api.api_host, config.ocr_api.api_port = address.hostname, address.port
config.ocr_api.model = order["model"]
config.page_loader.max_tokens = order["max_tokens"]
pipeline = Pipeline(config, layout_detector=WholePage())
pipeline.start()
texts = []
for image in order["images"]:
    content = [{"type": "image_url", "image_url": {"url": f"file://{image}"}}]
    (result,) = pipeline.process({"messages": [{"role": "user", "content": content}]})
    regions = [region for page in result.raw_json_result for region in page]  # what the model wrote, not yet prettified
    texts.append("\n".join(region.get("content") or "" for region in regions))
pipeline.stop()
Path(sys.argv[2]).write_text(json.dumps(texts, ensure_ascii=False))

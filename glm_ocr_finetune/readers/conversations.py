"""One conversation with one image, as LLaMA-Factory, LLaVA, ms-swift, TRL and Qwen's examples hold it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
_IMAGE_TAG = "<image>"
_TAGS = re.compile(r"<image>|<ImageHere>|<img>(?P<path>[^<]*)</img>|<\|vision_start\|><\|image_pad\|><\|vision_end\|>")
_IMAGE_PARTS = ("image", "image_url")
_IMAGE_KEYS = ("image", "image_url", "path", "url", "bytes")


@dataclass(frozen=True)
class Turn:
    """The user's text without its image tags, the answer, or the problem (a key of ``PROBLEMS``).

    ``image`` is the cell of the one image that the conversation holds itself, None when it stands in a column.
    """

    prompt: str | None = None
    answer: object = None
    problem: str | None = None
    image: object = None


def read_turn(messages: Any, system: Any = None, history: Any = None) -> Turn:
    """The one turn of a conversation: ``role``/``content`` or ``from``/``value`` messages.

    ``content`` may be a string or a list of parts of the type text or image.
    """
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return Turn(problem="invalid_record")
    roles = [_ROLES.get(str(message.get("role") or message.get("from"))) for message in messages]
    if system or "system" in roles:
        return Turn(problem="system_message")
    if roles != ["user", "assistant"] or history:
        return Turn(problem="several_turns")
    question, answer = (_content(message) for message in messages)
    if not isinstance(question, str):
        return Turn(problem="invalid_record")
    inline = _inline_images(messages[0])
    asked = read_question(question)
    if len(inline) > 1:
        return Turn(problem="several_images")
    return Turn(asked.prompt, answer, asked.problem, inline[0] if inline else asked.image)


def read_question(question: str) -> Turn:
    """A prompt without its image tag, and the image's path where the tag holds one (``<img>a.png</img>``)."""
    tags = list(_TAGS.finditer(question)) if "<" in question else []
    if len(tags) > 1:
        return Turn(problem="several_images")
    return Turn(_TAGS.sub("", question).strip() or None, image=tags[0]["path"] if tags else None)


def _content(message: dict[str, Any]) -> Any:
    """A message's content; parts of text and image are joined to one string with image tags."""
    content = message.get("content", message.get("value"))
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return content
    return "".join(_IMAGE_TAG if part.get("type") in _IMAGE_PARTS else _text(part.get("text")) for part in content)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _inline_images(message: dict[str, Any]) -> list[Any]:
    """The images that stand in a message's parts: paths, URLs or encoded images, not mere placeholders."""
    content = message.get("content", message.get("value"))
    parts = content if isinstance(content, list) else []
    cells = [_image_of(part) for part in parts if isinstance(part, dict) and part.get("type") in _IMAGE_PARTS]
    return [cell for cell in cells if cell is not None]


def _image_of(part: dict[str, Any]) -> Any:
    value = next((part[key] for key in _IMAGE_KEYS if part.get(key) is not None), None)
    return value.get("url") if isinstance(value, dict) and "url" in value else value

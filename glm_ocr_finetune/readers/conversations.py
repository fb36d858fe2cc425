"""One conversation with one image, as LLaMA-Factory's ShareGPT files and chat data sets hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
_IMAGE_TAG = "<image>"


@dataclass(frozen=True)
class Turn:
    """The user's text without its image tags, the answer, or the problem (a key of ``PROBLEMS``)."""

    prompt: str | None = None
    answer: object = None
    problem: str | None = None


def read_turn(messages: Any, system: Any = None) -> Turn:
    """The one turn of a conversation: ``role``/``content`` or ``from``/``value`` messages.

    ``content`` may be a string or a list of parts of the type text or image.
    """
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return Turn(problem="invalid_record")
    roles = [_ROLES.get(str(message.get("role") or message.get("from"))) for message in messages]
    if system or "system" in roles:
        return Turn(problem="system_message")
    if roles != ["user", "assistant"]:
        return Turn(problem="several_turns")
    question, answer = (_content(message) for message in messages)
    if not isinstance(question, str):
        return Turn(problem="invalid_record")
    if question.count(_IMAGE_TAG) > 1:
        return Turn(problem="several_images")
    return Turn(prompt=question.replace(_IMAGE_TAG, "").strip() or None, answer=answer)


def _content(message: dict[str, Any]) -> Any:
    """A message's content; parts of text and image are joined to one string with image tags."""
    content = message.get("content", message.get("value"))
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return content
    return "".join(_IMAGE_TAG if part.get("type") == "image" else str(part.get("text") or "") for part in content)

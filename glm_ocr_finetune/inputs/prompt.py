"""The one renderer: it builds the prompt for training, evaluation, inference and export.

A training sequence is ``prompt ids + answer ids + stop id``. The prompt ids are those of the very call that
inference makes, so what is trained is what is served; labels are -100 on the prompt and the ids themselves after
it, by position, so the stop token is trained although its kin pads sequences.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ..args import DEFAULT_PROMPT_FORMAT, PROMPT_FORMATS
from ..errors import UserError
from .special_tokens import IMAGE_TOKEN, STOP_TOKEN

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import Glm46VProcessor

PROMPTS_KEPT = 256  # rendered; data with a prompt for each row would fill the memory
IGNORED = -100  # label of positions that are not trained; what torch's cross entropy leaves out


def messages_for(prompt: str) -> list[dict[str, Any]]:
    """The request as chat messages: one user turn, the image first, then the prompt."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]


@dataclass(frozen=True)
class Encoded:
    """One training sequence of length L.

    Attributes:
        input_ids: L token ids: prompt with one image token per 28 x 28 pixels, answer, stop token.
        labels: L ids, ``IGNORED`` over the prompt, equal to ``input_ids`` from the answer on.
    """

    input_ids: list[int]
    labels: list[int]


class PromptRenderer:
    """Turns prompts and answers into token ids in one prompt format.

    Args:
        processor: its chat template and tokenizer are used; the template is never edited.
        prompt_format: ``serve`` is the template's default generation prompt, which servers and the SDK send;
            ``no_think`` is its ``enable_thinking=False`` prompt.
    """

    def __init__(self, processor: Glm46VProcessor, prompt_format: str = DEFAULT_PROMPT_FORMAT) -> None:
        if prompt_format not in PROMPT_FORMATS:
            raise UserError(f"--prompt_format is {prompt_format!r}; it must be one of: {', '.join(PROMPT_FORMATS)}")
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.prompt_format = prompt_format
        self.image_token_id: int = self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.stop_token_id: int = self.tokenizer.convert_tokens_to_ids(STOP_TOKEN)
        self._control_tokens = tuple(self.tokenizer.get_added_vocab())
        self._plain = _without_control_tokens(self.tokenizer)
        self._rendered: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def prompt_text(self, prompt: str) -> str:
        """The request as text, with a single image token, ending where the answer starts."""
        thinking = {} if self.prompt_format == DEFAULT_PROMPT_FORMAT else {"enable_thinking": False}
        from jinja2 import TemplateError

        try:
            return str(
                self.processor.apply_chat_template(
                    messages_for(prompt), tokenize=False, add_generation_prompt=True, **thinking
                )
            )
        except TemplateError as error:
            file, why = f"{self.tokenizer.name_or_path}/chat_template.jinja", str(error).rstrip(".")
            raise UserError(f"{file} is damaged: {why}; copy it from the base model") from error

    def control_token_in(self, prompt: str) -> str | None:
        """The first control token spelt out in a prompt, which the model would not read as text; None without one."""
        return next((token for token in self._control_tokens if token in prompt), None)

    def fingerprint(self) -> str:
        """Equal for renderers that make the same token ids."""
        parts = (self.tokenizer.backend_tokenizer.to_str(), self.processor.chat_template, self.prompt_format)
        return blake2b(repr(parts).encode(), digest_size=16).hexdigest()

    def _template_ids(self, prompt: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids before and after the image; kept, as most rows have the same prompt."""
        if prompt not in self._rendered:
            if len(self._rendered) >= PROMPTS_KEPT:
                self._rendered.clear()
            self._rendered[prompt] = self._render_template(prompt)
        return self._rendered[prompt]

    def _render_template(self, prompt: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        ids = self.tokenizer(self.prompt_text(prompt), add_special_tokens=False)["input_ids"]
        if ids.count(self.image_token_id) != 1:
            raise UserError(
                f"the prompt {prompt!r} renders to {ids.count(self.image_token_id)} image tokens instead of one; "
                f"leave {IMAGE_TOKEN} out of --prompt"
            )
        image = ids.index(self.image_token_id)
        return tuple(ids[:image]), tuple(ids[image + 1 :])

    def prompt_ids(self, prompt: str, num_image_tokens: int) -> list[int]:
        """The request as token ids, with the image token repeated ``num_image_tokens`` times."""
        before, after = self._template_ids(prompt)
        return [*before, *[self.image_token_id] * num_image_tokens, *after]

    def answer_ids(self, answer: str) -> list[int]:
        """The answer and the stop token. Control tokens spelt out in a label stay characters, all of them."""
        return [*self._plain.encode(answer, add_special_tokens=False).ids, self.stop_token_id]

    def encode(self, prompt: str, answer: str, num_image_tokens: int) -> Encoded:
        """The training sequence of one sample."""
        prompt_ids, answer_ids = self.prompt_ids(prompt, num_image_tokens), self.answer_ids(answer)
        return Encoded(prompt_ids + answer_ids, [IGNORED] * len(prompt_ids) + answer_ids)

    def num_text_tokens(self, prompt: str, answer: str) -> int:
        """Length of the sequence without its image tokens."""
        before, after = self._template_ids(prompt)
        return len(before) + len(after) + len(self.answer_ids(answer))


def _without_control_tokens(tokenizer: Any) -> Tokenizer:
    """The tokenizer with no added tokens: transformers' ``split_special_tokens`` leaves those that are not special."""
    from tokenizers import Tokenizer

    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(settings | {"added_tokens": [], "truncation": None, "padding": None}))

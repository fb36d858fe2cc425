"""Reading images: batched greedy generation, and which answers ended by a stop token."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .collate import Pixels, image_to_pixels, stack_inputs
from .images import AnyImage, ImageError, open_upright
from .processor import PixelBudget

if TYPE_CHECKING:
    import torch

    from .prompt import PromptRenderer

TOKENS_PER_BATCH = 16_384  # prompts with their images, padding included: some pages, or many lines
MOST_PER_BATCH = 64  # more rows cost a step of decoding as much more time as they save steps (docs/log.md)
FEWEST_TO_REGROUP = 4  # below, leaving stopped rows out costs more than running them along


@dataclass(frozen=True)
class Request:
    """One image to read.

    Attributes:
        pixels: gives the image ready for the model when its batch is due; may raise ImageError.
        prompt: the prompt text.
        num_tokens: length of the prompt with its image, as far as it is known; like goes with like.
        max_new_tokens: longest answer, the stop token included.
    """

    pixels: Callable[[], Pixels]
    prompt: str
    num_tokens: int
    max_new_tokens: int


@dataclass(frozen=True)
class Generated:
    """One answer.

    Attributes:
        text: decoded without special tokens.
        token_ids: the answer's ids, without the stop token and the padding after it.
        stopped: whether the model ended the answer itself, by any of its stop tokens.
    """

    text: str
    token_ids: list[int]
    stopped: bool


def stop_token_ids(model: Any) -> list[int]:
    """Every id that ends an answer, from the generation configuration."""
    ids = model.generation_config.eos_token_id
    return [ids] if isinstance(ids, int) else list(ids)


def read_pixels(image: AnyImage, renderer: PromptRenderer) -> Pixels:
    """An image upright, resized within the processor's budget and normalised. Raises ImageError."""
    processor = renderer.processor
    return image_to_pixels(open_upright(image), processor, PixelBudget.of(processor))


def generate(
    model: Any,
    renderer: PromptRenderer,
    images: Sequence[AnyImage],
    prompts: Sequence[str],
    max_new_tokens: int,
    repetition_penalty: float = 1.0,
) -> list[Generated]:
    """Read one batch of images greedily.

    Args:
        images: B images.
        prompts: B prompts.
        max_new_tokens: longest answer, the stop token included.
        repetition_penalty: 1.0 is none; above it, repeated tokens are made less likely.

    Raises:
        ImageError: an image cannot be read.
    """
    pixels = [read_pixels(image, renderer) for image in images]
    inputs = _model_inputs(pixels, prompts, renderer)
    answers = _greedy(model, inputs, [max_new_tokens] * len(pixels), repetition_penalty)
    return [_generated(ids, model, renderer) for ids in answers]


def generate_all(
    model: Any,
    renderer: PromptRenderer,
    requests: Sequence[Request],
    batch_size: int | None = None,
    repetition_penalty: float = 1.0,
) -> Iterator[tuple[int, Generated | ImageError]]:
    """Read many images in batches, yielding (position in ``requests``, answer) as they are done.

    The images of the next batch are decoded while the model reads. An image that turns out to be unreadable gives
    its ImageError as the answer; the others of its batch are read.
    """

    def prepare(batch: Sequence[int]) -> tuple[Sequence[int], list[Pixels | ImageError]]:
        return batch, [_pixels_or_error(requests[i]) for i in batch]

    for batch, images in _one_ahead(prepare, group(requests, batch_size)):
        pixels = {i: one for i, one in zip(batch, images, strict=True) if isinstance(one, Pixels)}
        yield from ((i, one) for i, one in zip(batch, images, strict=True) if isinstance(one, ImageError))
        if pixels:
            inputs = _model_inputs(list(pixels.values()), [requests[i].prompt for i in pixels], renderer)
            limits = [requests[i].max_new_tokens for i in pixels]
            for i, ids in zip(pixels, _greedy(model, inputs, limits, repetition_penalty), strict=True):
                yield i, _generated(ids, model, renderer)


def group(requests: Sequence[Request], batch_size: int | None = None) -> list[list[int]]:
    """Positions of requests in batches, the longest answers and prompts first.

    Args:
        batch_size: images in a batch; by default as many as fit ``TOKENS_PER_BATCH`` and ``MOST_PER_BATCH``.
    """
    order = sorted(range(len(requests)), key=lambda i: (-requests[i].max_new_tokens, -requests[i].num_tokens))
    most, tokens = (batch_size, None) if batch_size else (MOST_PER_BATCH, TOKENS_PER_BATCH)
    batches: list[list[int]] = []
    longest = 0
    for i in order:
        longest = max(longest, requests[i].num_tokens)
        full = not batches or len(batches[-1]) == most
        if full or (tokens and (len(batches[-1]) + 1) * longest > tokens):
            batches.append([])
            longest = requests[i].num_tokens
        batches[-1].append(i)
    return batches


def _one_ahead(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """``map(work, items)`` in a thread that works on the next item while the caller has the last."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending: deque[Future[Any]] = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _pixels_or_error(request: Request) -> Pixels | ImageError:
    try:
        return request.pixels()
    except ImageError as error:
        return error


def _model_inputs(pixels: Sequence[Pixels], prompts: Sequence[str], renderer: PromptRenderer) -> dict[str, Any]:
    """The one place where images become what the model takes for reading: B rows, padded on the left."""
    sequences = [renderer.prompt_ids(prompt, one.num_tokens) for prompt, one in zip(prompts, pixels, strict=True)]
    return stack_inputs(sequences, pixels, renderer, "left")


def _greedy(model: Any, inputs: dict[str, Any], limits: Sequence[int], repetition_penalty: float) -> list[list[int]]:
    """The answers' token ids of B rows, each up to its first stop token or its own limit, and maybe padding.

    Whenever half of the rows are done, the others go on without them.
    """
    import torch

    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    options = {} if repetition_penalty == 1.0 else {"repetition_penalty": repetition_penalty}
    length = inputs["input_ids"].shape[1]
    answers: list[list[int]] = [[] for _ in limits]
    rows = torch.arange(len(limits), device=model.device)
    ends = length + torch.tensor(limits, device=model.device)
    with torch.inference_mode():
        while len(rows):
            left = int(ends.max()) - inputs["input_ids"].shape[1]
            half = _HalfDone(ends, torch.tensor(stop_token_ids(model), device=model.device))
            output = model.generate(
                **inputs,
                **options,
                max_new_tokens=left,
                do_sample=False,
                stopping_criteria=[half],
                return_dict_in_generate=True,
            )
            for row, ids in zip(rows.tolist(), output.sequences[:, length:].tolist(), strict=True):
                answers[row] = ids[: limits[row]]
            rows, ends = rows[~half.done], ends[~half.done]
            inputs = _rest(model, inputs["attention_mask"], output, ~half.done)
    return answers


class _HalfDone:
    """A stopping criterion of ``generate``: rows end at a stop token or at their own end, all when half of them have.

    Args:
        ends: (B,) longest sequence of each row in tokens, prompt included.
        stops: (S,) ids that end an answer.
    """

    def __init__(self, ends: torch.Tensor, stops: torch.Tensor) -> None:
        self.ends, self.stops = ends, stops
        self.done = ends < 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.done = self.done | (input_ids[:, -1, None] == self.stops).any(-1) | (input_ids.shape[1] >= self.ends)
        enough = len(self.ends) >= FEWEST_TO_REGROUP and 2 * self.done.sum() >= len(self.ends)
        return self.done | enough  # on the device: no step waits for the answer


def _rest(model: Any, prompt_mask: torch.Tensor, output: Any, keep: torch.Tensor) -> dict[str, Any]:
    """What ``generate`` takes to go on with the rows to keep: their ids, mask, cache and rotary offsets."""
    name = next(name for name in ("cache", "past_key_values") if name in output)  # before and since transformers 5.2x
    output[name].batch_select_indices(keep)
    offsets = next(module for module in model.modules() if getattr(module, "rope_deltas", None) is not None)
    offsets.rope_deltas = offsets.rope_deltas[keep]
    ids = output.sequences[keep]
    mask = prompt_mask.new_ones(ids.shape)
    mask[:, : prompt_mask.shape[1]] = prompt_mask[keep]
    return {"input_ids": ids, "attention_mask": mask, name: output[name]}


def _generated(ids: list[int], model: Any, renderer: PromptRenderer) -> Generated:
    stops = set(stop_token_ids(model))
    end = next((i for i, token in enumerate(ids) if token in stops), None)
    answer = ids if end is None else ids[:end]
    return Generated(renderer.tokenizer.decode(answer, skip_special_tokens=True), answer, end is not None)

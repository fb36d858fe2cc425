"""Reading images: batched greedy generation, and which answers ended by a stop token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data.stack import stack_inputs
from ..inputs.images import AnyImage, ImageError
from ..vision.encoder import INPUTS, VisionEncoder, backbone_of, bring_back
from ..vision.pixels import Pixels, read_pixels
from .loops import EVERY, is_loop
from .room import rows_for

if TYPE_CHECKING:
    import torch

    from ..inputs.prompt import PromptRenderer
    from .speculative import Speculation

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
    answers = _greedy(model, inputs, [max_new_tokens] * len(pixels), repetition_penalty, VisionEncoder())
    return [_generated(ids, model, renderer) for ids in answers]


def generate_all(
    model: Any,
    renderer: PromptRenderer,
    requests: Sequence[Request],
    batch_size: int | None = None,
    repetition_penalty: float = 1.0,
    encoder: VisionEncoder | None = None,
    stop_loops: bool = False,
    speculation: Speculation | None = None,
) -> Iterator[tuple[int, Generated | ImageError]]:
    """Read many images in batches, yielding (position in ``requests``, answer) as they are done.

    An image that turns out to be unreadable gives its ImageError as the answer; the others of its batch are read.

    Args:
        stop_loops: end answers that repeat themselves, by :func:`~.loops.is_loop`.
        speculation: reads the same with drafts, and counts them.
    """
    encoder = encoder or VisionEncoder()
    for batch in group(requests, rows_for(model, batch_size)):
        images = {i: _pixels_or_error(requests[i]) for i in batch}
        yield from ((i, image) for i, image in images.items() if isinstance(image, ImageError))
        readable = {i: image for i, image in images.items() if isinstance(image, Pixels)}
        for part in _parts_that_fit(
            model, renderer, requests, readable, repetition_penalty, encoder, stop_loops, speculation
        ):
            yield from part


def _parts_that_fit(
    model: Any,
    renderer: PromptRenderer,
    requests: Sequence[Request],
    images: dict[int, Pixels],
    repetition_penalty: float,
    encoder: VisionEncoder,
    stop_loops: bool,
    speculation: Speculation | None,
) -> Iterator[list[tuple[int, Generated]]]:
    """The answers to a batch; where the memory is too small after all, to each half of it in turn."""
    import torch

    waiting = [list(images)] if images else []
    while waiting:
        these = waiting.pop(0)
        inputs = _model_inputs([images[i] for i in these], [requests[i].prompt for i in these], renderer)
        limits = [requests[i].max_new_tokens for i in these]
        try:
            answers = _greedy(model, inputs, limits, repetition_penalty, encoder, stop_loops, speculation)
        except torch.OutOfMemoryError:
            if len(these) == 1:
                raise
            half = len(these) // 2
            waiting[:0] = [these[:half], these[half:]]
            continue
        yield [(i, _generated(ids, model, renderer)) for i, ids in zip(these, answers, strict=True)]


def longest_first(requests: Sequence[Request]) -> list[int]:
    """Positions of requests by length, prompt and answer together: like comes to stand beside like."""
    return sorted(range(len(requests)), key=lambda i: -(requests[i].num_tokens + requests[i].max_new_tokens))


def group(requests: Sequence[Request], rows: Callable[[int, int], int]) -> list[list[int]]:
    """Positions of requests in batches of like length, the longest first.

    Args:
        rows: tells how many rows of so many tokens of prompt, with so many of answer at most, make a batch.
    """
    batches: list[list[int]] = []
    tokens = answer = 0
    for i in longest_first(requests):
        one = requests[i]
        tokens, answer = max(tokens, one.num_tokens), max(answer, one.max_new_tokens)
        if not batches or len(batches[-1]) >= rows(tokens, answer):
            batches.append([])
            tokens, answer = one.num_tokens, one.max_new_tokens
        batches[-1].append(i)
    return batches


def _pixels_or_error(request: Request) -> Pixels | ImageError:
    try:
        return request.pixels()
    except ImageError as error:
        return error


def _model_inputs(pixels: Sequence[Pixels], prompts: Sequence[str], renderer: PromptRenderer) -> dict[str, Any]:
    """The one place where images become what the model takes for reading: B rows, padded on the left."""
    sequences = [renderer.prompt_ids(prompt, one.num_tokens) for prompt, one in zip(prompts, pixels, strict=True)]
    return stack_inputs(sequences, pixels, renderer, "left")


def _greedy(
    model: Any,
    inputs: dict[str, Any],
    limits: Sequence[int],
    repetition_penalty: float,
    encoder: VisionEncoder,
    stop_loops: bool = False,
    speculation: Speculation | None = None,
) -> list[list[int]]:
    """The answers' token ids of B rows, each up to its first stop token or its own limit, and maybe padding.

    Whenever half of the rows are done, the others go on without them.
    """
    import torch

    device = model.get_input_embeddings().weight.device
    bring_back(model, device)
    length = inputs["input_ids"].shape[1]
    answers: list[list[int]] = [[] for _ in limits]
    rows = torch.arange(len(limits), device=device)
    ends = length + torch.tensor(limits, device=device)
    stops = torch.tensor(stop_token_ids(model), device=device)
    with torch.no_grad():  # not inference mode: features go into a cache that training reads
        inputs = _with_features(model, {name: value.to(device) for name, value in inputs.items()}, encoder)
    with torch.inference_mode():
        if speculation:
            from .speculative import read_with_drafts

            return read_with_drafts(model, inputs, limits, stops.tolist(), repetition_penalty, speculation, stop_loops)
        while len(rows):
            left = int(ends.max()) - inputs["input_ids"].shape[1]
            half_done = _HalfDone(ends, stops, length if stop_loops else None)
            output = model.generate(
                **inputs,
                logits_processor=_penalties(repetition_penalty, inputs["attention_mask"]),
                max_new_tokens=left,
                do_sample=False,
                stopping_criteria=[half_done],
                return_dict_in_generate=True,
                synced_gpus=False,  # whoever reads has all weights
            )
            new = output.sequences[:, length:]
            for row, ids in zip(rows.tolist(), new.tolist(), strict=True):
                answers[row] = ids[: limits[row]]
            keep = ~torch.isin(new, stops).any(-1) & (output.sequences.shape[1] < ends) & ~half_done.looped
            rows, ends, inputs = rows[keep], ends[keep], _rest(model, inputs["attention_mask"], output, keep)
    return answers


def _with_features(model: Any, inputs: dict[str, Any], encoder: VisionEncoder) -> dict[str, Any]:
    """The inputs with the features of the images in place of their pixels."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    features = encoder.features(backbone_of(model), inputs)
    rest = {name: value for name, value in inputs.items() if name == "image_grid_thw" or name not in INPUTS}
    return rest | {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}


def _penalties(penalty: float, prompt_mask: torch.Tensor) -> list[_RepetitionPenalty]:
    return [] if penalty == 1.0 else [_RepetitionPenalty(penalty, prompt_mask)]


class _RepetitionPenalty:
    """A logits processor of ``generate``: what stands in the prompt or the answer becomes less likely, as in vLLM.

    transformers' own counts the padding before a prompt too, which is a stop token here.

    Args:
        prompt_mask: (B, L) 0 where the prompt is padded on its left.
    """

    def __init__(self, penalty: float, prompt_mask: torch.Tensor) -> None:
        from transformers import RepetitionPenaltyLogitsProcessor

        self.penalise = RepetitionPenaltyLogitsProcessor(penalty)
        self.padded = prompt_mask == 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        seen = input_ids.clone()
        length = self.padded.shape[1]
        seen[:, :length] = seen[:, :length].where(~self.padded, seen[:, length - 1 : length])
        penalised: torch.Tensor = self.penalise(seen, scores)
        return penalised


class _HalfDone:
    """A stopping criterion of ``generate``: rows end at a stop token or at their own end, all when half of them have.

    Args:
        ends: (B,) longest sequence of each row in tokens, prompt included.
        stops: (S,) ids that end an answer.
        start: where answers begin, to end those that repeat themselves; None lets them run.
    """

    def __init__(self, ends: torch.Tensor, stops: torch.Tensor, start: int | None = None) -> None:
        self.ends, self.stops, self.start = ends, stops, start
        self.done = ends < 0
        self.looped = ends < 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.done = self.done | (input_ids[:, -1, None] == self.stops).any(-1) | (input_ids.shape[1] >= self.ends)
        if self.start is not None and (input_ids.shape[1] - self.start) % EVERY == 0:
            self._look_for_loops(input_ids)
        enough = len(self.ends) >= FEWEST_TO_REGROUP and 2 * self.done.sum() >= len(self.ends)
        return self.done | enough  # on the device: no step waits for the answer

    def _look_for_loops(self, input_ids: torch.Tensor) -> None:
        for row in (~self.done).nonzero().flatten().tolist():
            if is_loop(input_ids[row, self.start :].tolist()):
                self.looped[row] = self.done[row] = True


def _rest(model: Any, prompt_mask: torch.Tensor, output: Any, keep: torch.Tensor) -> dict[str, Any]:
    """What ``generate`` takes to go on with the rows to keep: their ids, mask, cache and rotary offsets."""
    name = "cache" if "cache" in output else "past_key_values"  # newer and older releases of transformers
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

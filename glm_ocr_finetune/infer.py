"""Reading images with a base model, a tuned one, an adapter or servers: to standard output, or into a folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from .args import DEFAULT_MODEL, OUTPUT_FORMATS, InferenceArguments
from .data.splits import default_split
from .errors import UserError
from .folders import RESULTS_FILE
from .inputs.processor import set_pixel_budget
from .inputs.prompt import PromptRenderer
from .model.loading import load_for_reading
from .readers import load_rows
from .reading.asking import Asking, how_to_ask
from .reading.journal import claim
from .reading.many import Engine, in_this_process, read_into
from .reading.outputs import write_outputs
from .reading.results import Answer
from .reading.scans import Scan, scans_of_files, scans_of_rows
from .reading.servers import Servers, check, options_for

logger = logging.getLogger(__name__)

CHANGE_THE_TEXT = ("min_pixels", "max_pixels", "max_new_tokens", "repetition_penalty", "stop_loops", "level")
NEED_A_FOLDER = ("server", "dataset_name", "regions", "shard", "retry_failed", "output_format")


def infer(args: InferenceArguments) -> int:
    """Read images: to standard output, or with ``--output_dir`` into a folder.

    Returns:
        The exit code: 1 when an image could not be read, else 0.
    """
    if args.task == "json":
        raise UserError("--task json has no fields to ask for here; name them in --prompt, as the model card shows")
    if args.output_dir:
        return _into_folder(args, Path(args.output_dir))
    for name in NEED_A_FOLDER:
        if getattr(args, name):
            raise UserError(f"--{name} needs --output_dir, a folder for the results")
    return _to_standard_output(args)


def _into_folder(args: InferenceArguments, folder: Path) -> int:
    """Read as many images as there are into a folder; a run that was cut off goes on."""
    if args.output_format == "xml" and not args.regions:
        raise UserError("--output_format xml needs --regions: the files that the texts are put into")
    if args.output_format == "xml" and args.level == "page":
        raise UserError("--output_format xml has no place for the text of a page; use --level line or region")
    scans = _scans(args)
    next(iter(scans()), None)  # what is not there is told before anything is loaded
    asking = how_to_ask(args.model, args.adapter, args.asked_prompt, args.prompt_format)
    if args.server and args.speculative:
        raise UserError(
            "--speculative True needs a model in this process; a server drafts as it was started, without it"
        )
    model = args.adapter or args.model
    claim(folder, {"model": model, **asdict(asking), **{name: getattr(args, name) for name in CHANGE_THE_TEXT}})
    if args.server:
        named = None if Path(args.model).exists() or args.model == DEFAULT_MODEL else args.model
        options = options_for(args.repetition_penalty, asking.prompt_format, args.stop_loops)
        servers = Servers(args.server, named, args.concurrency, options=options)
        check(servers)
        engine: Engine = partial(servers.read, prompt=asking.prompt, max_new_tokens=args.max_new_tokens)
    else:
        engine = own_engine(args, asking)
    tally, complete = read_into(folder, scans, engine, args.shard, args.retry_failed, model, asking.prompt)
    if complete:
        regions = Path(args.regions) if args.regions else None
        logger.info(
            "%s",
            write_outputs(args.output_format or OUTPUT_FORMATS[0], folder / RESULTS_FILE, folder, regions, args.level),
        )
    return 1 if tally.failed else 0


def own_engine(args: InferenceArguments, asking: Asking) -> Engine:
    from .reading.speculative import speculation_for

    model, processor, _ = load_for_reading(args.model, args.adapter, args.device_map)
    set_pixel_budget(processor, args.min_pixels, args.max_pixels)
    renderer = PromptRenderer(processor, asking.prompt_format)
    return in_this_process(
        model,
        renderer,
        asking.prompt,
        args.max_new_tokens,
        args.batch_size,
        args.repetition_penalty,
        args.stop_loops,
        speculation_for(model, args.model, args.adapter) if args.speculative else None,
    )


def _scans(args: InferenceArguments) -> Callable[[], Iterable[Scan]]:
    """What gives the scans, as often as it is called."""
    given = [name for name in ("image", "dataset_name", "regions") if getattr(args, name)]
    if len(given) != 1:
        raise UserError(f"give one of --image, --dataset_name and --regions; given: {', '.join(given) or 'none'}")
    if args.image:
        return partial(scans_of_files, args.image, args.recursive, args.pages, said=set())
    if args.regions:
        if not Path(args.regions).expanduser().exists():
            raise UserError(f"--regions {args.regions} does not exist")
        rows = load_rows(args.regions, split="train", level=args.level, data_format="pages")
        return partial(scans_of_rows, rows, of_pages=args.level == "page")
    split = args.split or default_split(str(args.dataset_name))
    return partial(scans_of_rows, load_rows(str(args.dataset_name), split=split, level=args.level))


def _to_standard_output(args: InferenceArguments) -> int:
    """Print the text of each image; everything else goes to standard error.

    With more than one image, a line ``==> path <==`` comes before each text, with ``path page N`` for each page of a
    PDF or TIFF that has several.
    """
    if not args.image:
        raise UserError("--image is required: an image file or a folder of images")
    scans = list(scans_of_files(args.image, args.recursive, args.pages))
    asking = how_to_ask(args.model, args.adapter, args.asked_prompt, args.prompt_format)
    answers = own_engine(args, asking)(iter(scans))
    done: dict[str, Answer | Exception] = {}
    printed = 0
    for scan, answer in answers:
        done[scan.id] = answer
        tell(scan, answer, args.max_new_tokens)
        while printed < len(scans) and scans[printed].id in done:
            ready = done[scans[printed].id]
            if isinstance(ready, Answer):
                _print(scans[printed], ready.text, many=len(scans) > 1)
            printed += 1
    return 0 if all(isinstance(answer, Answer) for answer in done.values()) else 1


def tell(scan: Scan, answer: Answer | Exception, max_new_tokens: int) -> None:
    """Say what is wrong with an answer, if anything is."""
    if isinstance(answer, Exception):
        logger.error("%s", answer if scan.name in str(answer) else f"{scan.name}: {answer}")
    elif answer.looped:
        logger.warning("%s: ended, because it repeated itself (--stop_loops)", scan.name)
    elif not answer.stopped:
        logger.warning("%s: cut at --max_new_tokens %d", scan.name, max_new_tokens)


def _print(scan: Scan, text: str, many: bool) -> None:
    if many:
        sys.stdout.write(f"==> {scan.name} <==\n")
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()

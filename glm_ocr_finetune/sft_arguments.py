"""Every argument of TRL's ``SFTConfig``: what it does here, what it needs, or why it is refused.

The command line is parsed with this table, ``argument_checks`` refuses by it, and ``docs/sft-arguments.md`` is made
from it; neither torch nor TRL is imported. A test compares names and types with the installed TRL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .args import INTERVALS
from .argument_fields import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range


@dataclass(frozen=True)
class Argument:
    """An argument of ``SFTConfig`` that :class:`.args.TrainingDefaults` does not declare.

    Attributes:
        kind: ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict`` (JSON), or ``file`` (JSON, or a file of it).
        does: what it does here; where ``only`` is given, why nothing else is taken.
        only: the values that are taken; None for all.
        needs: a key of ``argument_checks.NEEDS``.
    """

    name: str
    kind: str
    does: str
    only: tuple[Any, ...] | None = None
    needs: str | None = None
    within: Range | None = None
    choices: tuple[str, ...] = ()


# Arguments of SFTConfig that have this package's default and help: see args.TrainingDefaults.
OURS = (
    *("output_dir", "per_device_train_batch_size", "num_train_epochs", "max_steps", "learning_rate"),
    *("lr_scheduler_type", "warmup_steps", "gradient_accumulation_steps", "max_grad_norm", "bf16", "fp16"),
    *("gradient_checkpointing", "report_to", "eval_strategy", "eval_steps", "save_strategy", "save_steps"),
    *("save_total_limit", "load_best_model_at_end", "metric_for_best_model", "dataloader_num_workers"),
    *("max_length", "padding_free", "per_device_eval_batch_size", "logging_nan_inf_filter"),
)

OPTIMIZERS = {  # and the package that each needs, by the name that is imported
    **dict.fromkeys(("adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop"), ""),
    **dict.fromkeys(
        (
            *("adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "ademamix", "ademamix_8bit"),
            *("paged_ademamix_8bit", "paged_ademamix_32bit", "lion_8bit", "lion_32bit", "paged_lion_8bit"),
            *("paged_lion_32bit", "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"),
        ),
        "bitsandbytes",
    ),
    **dict.fromkeys(("adamw_torch_4bit", "adamw_torch_8bit"), "torchao"),
    **dict.fromkeys(("schedule_free_radam", "schedule_free_adamw", "schedule_free_sgd"), "schedulefree"),
    **dict.fromkeys(("galore_adamw", "galore_adamw_8bit", "galore_adafactor"), "galore_torch"),
    **dict.fromkeys(
        ("galore_adamw_layerwise", "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise"), "galore_torch"
    ),
    **dict.fromkeys(("apollo_adamw", "apollo_adamw_layerwise"), "apollo_torch"),
    **dict.fromkeys(("lomo", "adalomo"), "lomo_optim"),
    **{"grokadamw": "grokadamw", "stable_adamw": "optimi", "adamw_anyprecision": "torchdistx"},
    **{"adamw_torch_xla": "torch_xla", "adamw_torch_npu_fused": "torch_npu"},
}

TRACKERS = {  # of transformers, and the package that each needs
    **{name: name for name in ("wandb", "tensorboard", "mlflow", "trackio", "clearml", "codecarbon", "dagshub")},
    **{name: name for name in ("comet_ml", "dvclive", "neptune", "swanlab")},
    **{"azure_ml": "azureml", "flyte": "flytekit", "kubeflow": "kubeflow", "none": "", "all": ""},
}

INSTALL = {  # what pip calls it, where that is not the name that is imported
    **{"galore_torch": "galore-torch", "apollo_torch": "apollo-torch", "lomo_optim": "lomo-optim"},
    **{"optimi": "torch-optimi", "azureml": "azureml-mlflow", "comet_ml": "comet-ml"},
    "bitsandbytes": "'glm-ocr-finetune[4bit]'",
    "wandb": "'glm-ocr-finetune[wandb]'",
    "tensorboard": "'glm-ocr-finetune[tensorboard]'",
}

_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
_NO_PREDICTIONS = "reading scores the texts; the loop of the loss keeps no predictions"
_ANSWER_ONLY = "the loss is on the answer and its stop token, always"
_NO_PACKING = "samples with images are not packed; --padding_free True (the default) also avoids padding"
_OWN_PROMPT = "the prompt is the one that servers send, from the checkpoint's own template; --prompt_format chooses"
_FIXED_TOKENS = "the tokens that end and pad a sequence are GLM-OCR's own, as servers know them"
_ONE_COMPILER = "decoder layers are compiled one by one, with the settings that --torch_compile True has"
_NOT_PREPARED = "images and texts are prepared batch by batch, in --dataloader_num_workers processes"

ARGUMENTS = (
    Argument("lr_scheduler_kwargs", "dict", "settings of the schedule", needs="schedule settings"),
    Argument(
        "optim", "str", "the optimizer; some need a package, and --optim_target_modules", choices=tuple(OPTIMIZERS)
    ),
    Argument("optim_args", "str", "settings of the optimizer, as name=value,name=value", needs="optimizer"),
    Argument("weight_decay", "float", "decay of the weights, norms and biases excepted", within=NOT_NEGATIVE),
    Argument("adam_beta1", "float", "first moment of Adam", needs="adam", within=SHARE),
    Argument("adam_beta2", "float", "second moment of Adam", needs="adam", within=SHARE),
    Argument("adam_epsilon", "float", "epsilon of Adam", needs="adam epsilon", within=POSITIVE),
    Argument("optim_target_modules", "list", "layers that galore and apollo project", needs="low rank"),
    Argument(
        "average_tokens_across_devices",
        "bool",
        "a step's loss is the mean over the label tokens of all its batches and ranks, however it is cut",
        only=(True,),
    ),
    Argument(
        "label_smoothing_factor",
        "float",
        "smoothing needs the logits of the whole vocabulary at every position, which are never made here",
        only=(0.0,),
    ),
    Argument("bf16_full_eval", "bool", "during training the model is evaluated as it is trained", only=(False,)),
    Argument("fp16_full_eval", "bool", "during training the model is evaluated as it is trained", only=(False,)),
    Argument("tf32", "bool", "TF32 for fp32 products on NVIDIA GPUs from Ampere on"),
    Argument("activation_checkpointing", "bool", "the newer name of --gradient_checkpointing"),
    Argument("activation_checkpointing_kwargs", "dict", "settings of it", needs="checkpointing"),
    Argument("gradient_checkpointing_kwargs", "dict", "settings of it", needs="checkpointing"),
    Argument("torch_compile", "bool", "compiles the decoder layers: a faster step on a GPU", needs="compiling"),
    Argument("torch_compile_backend", "str", _ONE_COMPILER, only=(None,)),
    Argument("torch_compile_mode", "str", _ONE_COMPILER, only=(None,)),
    Argument("use_liger_kernel", "bool", "Liger has no kernels for GLM-OCR", only=(False,)),
    Argument("liger_kernel_config", "dict", "Liger has no kernels for GLM-OCR", only=(None,)),
    Argument("use_cache", "bool", "training never keeps keys and values; reading always does", only=(False,)),
    Argument("neftune_noise_alpha", "float", "noise on the embeddings of text tokens", within=POSITIVE),
    Argument("torch_empty_cache_steps", "int", "empties the GPU's cache every N steps", needs="gpu", within=COUNT),
    Argument(
        "auto_find_batch_size",
        "bool",
        "a batch that shrinks on the way changes the step; --plan shows which batch fits before the run",
        only=(False,),
    ),
    Argument("logging_strategy", "str", "when the loss is logged", choices=INTERVALS),
    Argument("logging_steps", "float", "logs every N steps", needs="logging by steps", within=POSITIVE),
    Argument("logging_first_step", "bool", "logs the first step too"),
    Argument("log_on_each_node", "bool", "logs once on every machine", needs="ranks"),
    Argument("include_num_input_tokens_seen", "str", "counts tokens in the log", choices=("no", "all", "non_padding")),
    Argument("log_level", "str", "how much transformers says", choices=_LEVELS),
    Argument("log_level_replica", "str", "the same on other ranks", choices=_LEVELS, needs="ranks"),
    Argument("disable_tqdm", "bool", "no progress bar"),
    Argument("run_name", "str", "name of the run for trackers", needs="tracker"),
    Argument("project", "str", "project for trackio", needs="trackio"),
    Argument("trackio_space_id", "str", "space for trackio", needs="trackio"),
    Argument("trackio_bucket_id", "str", "bucket for trackio", needs="trackio"),
    Argument("trackio_static_space_id", "str", "space for trackio", needs="trackio"),
    Argument(
        "eval_delay", "float", "steps or epochs before the first evaluation", needs="evaluation", within=NOT_NEGATIVE
    ),
    Argument("prediction_loss_only", "bool", _NO_PREDICTIONS, only=(True,)),
    Argument("eval_on_start", "bool", "evaluates before the first step", needs="evaluation"),
    Argument("eval_do_concat_batches", "bool", _NO_PREDICTIONS, only=(True,)),
    Argument("eval_use_gather_object", "bool", _NO_PREDICTIONS, only=(False,)),
    Argument("eval_accumulation_steps", "int", _NO_PREDICTIONS, only=(None,)),
    Argument("include_for_metrics", "list", _NO_PREDICTIONS, only=([],)),
    Argument("batch_eval_metrics", "bool", _NO_PREDICTIONS, only=(False,)),
    Argument("save_only_model", "bool", "checkpoints without optimizer; such a run cannot be resumed exactly"),
    Argument("save_on_each_node", "bool", "saves on every machine", needs="ranks"),
    Argument("enable_jit_checkpoint", "bool", "SIGTERM saves a checkpoint in any case", only=(False,)),
    Argument("push_to_hub", "bool", "uploads checkpoints and the tuned model; needs a network and a login"),
    Argument("hub_token", "str", "token for it", needs="hub"),
    Argument("hub_private_repo", "bool", "makes the repository private", needs="hub"),
    Argument("hub_model_id", "str", "name of the repository", needs="hub"),
    Argument(
        "hub_strategy",
        "str",
        "what is uploaded when",
        needs="hub",
        choices=("end", "every_save", "checkpoint", "all_checkpoints"),
    ),
    Argument("hub_always_push", "bool", "does not wait for the upload before", needs="hub"),
    Argument("hub_revision", "str", "branch that is pushed to", needs="hub"),
    Argument("greater_is_better", "bool", "direction of the metric; known for all metrics here", needs="evaluation"),
    Argument("ignore_data_skip", "bool", "a resumed run begins its epoch anew", needs="resuming"),
    Argument(
        "restore_callback_states_from_checkpoint",
        "bool",
        "early stopping counts from the log, which every checkpoint has; what else would be restored ends the run",
        only=(False,),
    ),
    Argument("full_determinism", "bool", "deterministic kernels; slower"),
    Argument("seed", "int", "seed of everything", within=NOT_NEGATIVE),
    Argument("data_seed", "int", "seed of the order and the split; --seed when left out", within=NOT_NEGATIVE),
    Argument("use_cpu", "bool", "trains on the CPU although there is a GPU"),
    Argument("accelerator_config", "file", "batches are made for each rank here, not by accelerate", only=(None,)),
    Argument("parallelism_config", "str", "sequences with images are not cut over devices", only=(None,)),
    Argument(
        "dataloader_drop_last",
        "bool",
        "leaves out the last batch of an epoch when it is not full",
        needs="fixed batches",
    ),
    Argument("dataloader_pin_memory", "bool", "pinned memory for copies to a GPU; off on a CPU"),
    Argument("dataloader_persistent_workers", "bool", "keeps worker processes from epoch to epoch", needs="workers"),
    Argument("dataloader_prefetch_factor", "int", "batches a worker reads ahead", needs="workers", within=COUNT),
    Argument(
        "dataloader_multiprocessing_context",
        "str",
        "how worker processes are started",
        needs="workers",
        choices=("fork", "spawn", "forkserver"),
    ),
    Argument("dataloader_in_order", "bool", "False: batches as workers finish them", needs="workers"),
    Argument("remove_unused_columns", "bool", "the collator needs the columns of the samples", only=(False,)),
    Argument("label_names", "list", "labels are made here", only=(None,)),
    Argument(
        "train_sampling_strategy",
        "str",
        "--tokens_per_batch balances batches by their tokens",
        only=("random", "sequential", "group_by_length"),
        choices=("random", "sequential", "group_by_length", "batch_rebalance"),
    ),
    Argument("length_column_name", "str", "lengths are counted here, from image headers and texts", only=("length",)),
    Argument("ddp_find_unused_parameters", "bool", "setting of DistributedDataParallel", needs="ranks"),
    Argument("ddp_bucket_cap_mb", "int", "setting of DistributedDataParallel", needs="ranks", within=COUNT),
    Argument("ddp_broadcast_buffers", "bool", "setting of DistributedDataParallel", needs="ranks"),
    Argument("ddp_static_graph", "bool", "setting of DistributedDataParallel", needs="ranks"),
    Argument("ddp_backend", "str", "backend of torch.distributed", needs="ranks"),
    Argument("ddp_timeout", "int", "seconds before ranks that do not answer end the run", needs="ranks", within=COUNT),
    Argument("fsdp", "str", "shards weights over ranks"),
    Argument("fsdp_config", "file", "settings of it", needs="fsdp"),
    Argument("deepspeed", "file", "DeepSpeed configuration; needs the package deepspeed"),
    Argument(
        "debug",
        "str",
        "underflow_overflow stops where numbers leave their range; nothing else can be looked for",
        only=("", "underflow_overflow"),
    ),
    Argument("skip_memory_metrics", "bool", "False: memory of training and evaluation in the log"),
    Argument("do_train", "bool", "`train` trains; `evaluate` and --dry_run True do not", only=(True,)),
    Argument("do_eval", "bool", "--eval_strategy says when to evaluate", only=(True,), needs="evaluation"),
    Argument("do_predict", "bool", "`evaluate` reads and scores any data set", only=(False,)),
    Argument(
        "resume_from_checkpoint",
        "str",
        "True for the newest checkpoint of --output_dir, auto for that or a new run, or its folder",
    ),
    Argument("local_rank", "int", "launchers that still pass it set LOCAL_RANK to the same number"),
    Argument(
        "model_init_kwargs",
        "dict",
        "precision, attention and device are settled when the model is loaded",
        only=(None,),
    ),
    Argument("trust_remote_code", "bool", "no code from checkpoints is run", only=(False,)),
    Argument("router_aux_loss_coef", "float", "GLM-OCR has no experts to route to", only=(None,)),
    Argument("chat_template_path", "str", _OWN_PROMPT, only=(None,)),
    Argument("dataset_text_field", "str", "--text_column names the column with the transcription", only=("text",)),
    Argument("dataset_kwargs", "dict", _NOT_PREPARED, only=(None,)),
    Argument("dataset_num_proc", "int", _NOT_PREPARED, only=(None,)),
    Argument("eos_token", "str", _FIXED_TOKENS, only=(None,)),
    Argument(
        "truncation_mode",
        "str",
        "nothing is cut: the pixel budget gives way, and long samples are set aside",
        only=("keep_start",),
    ),
    Argument(
        "shuffle_dataset", "bool", "the order is drawn anew in every epoch (--train_sampling_strategy)", only=(False,)
    ),
    Argument("packing", "bool", _NO_PACKING, only=(False,)),
    Argument("packing_strategy", "str", _NO_PACKING, only=("bfd",)),
    Argument("pad_to_multiple_of", "int", "pads batches to a multiple of N tokens", needs="padding", within=COUNT),
    Argument("eval_packing", "bool", _NO_PACKING, only=(False,)),
    Argument("completion_only_loss", "bool", _ANSWER_ONLY, only=(True,)),
    Argument("assistant_only_loss", "bool", _ANSWER_ONLY + "; leave it out", only=(False,)),
    Argument(
        "loss_type",
        "str",
        "negative log-likelihood, or dynamic fine-tuning (dft)",
        only=("nll", "dft"),
        choices=("nll", "dft", "chunked_nll"),
    ),
    Argument("activation_offloading", "bool", "keeps activations in the memory of the CPU", needs="gpu memory"),
    Argument("pad_token", "str", _FIXED_TOKENS, only=(None,)),
)
BY_NAME = {one.name: one for one in ARGUMENTS}

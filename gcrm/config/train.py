"""Options of `train`. Names and meanings are those of the original commands (Nath et al., 2024)."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from gcrm.config.base import Settings, split_commas
from gcrm.config.compute import TrainingOptions
from gcrm.config.track import TrackSettings
from gcrm.config.types import OutputFile, Seed, Share, Source, Steps

LateShare = Annotated[float, Field(gt=0, le=1)]

CONTRASTIVE_ONLY = (
    "contrastive_strategy",
    "contrastive_mean",
    "contrastive_loss_beta",
    "sim_samples",
    "unsim_samples",
    "source_state_percentile",
    "goal_state_percentile",
    "source_late_share",
    "goal_late_share",
    "positives",
    "temperature",
)
"""settings of `train` that have no effect on a vanilla model"""
SET_BY_PARITY = (
    "contrastive_mean",
    "source_late_share",
    "goal_late_share",
    "positives",
    "temperature",
    "center_rewards",
)
"""settings of `train` that the authors' code lacks or fixes"""

ORIGINAL_STRATEGIES = {"cosine": "sgs", "cosine_avg": "completion_avg"}
"""what the original commands call a strategy, and its name here"""

NO_MATTER = {"save_path", "ckpt_path", "curve_path", "use_wandb", "max_checkpoints"} | set(
    TrackSettings.model_fields
)
"""options of `train` that do not affect the trained weights"""


def _strategy(value: Any) -> Any:
    """The name here of a strategy of the original commands."""
    if value == "cosine_single":
        raise ValueError("is now called single_goal")
    return ORIGINAL_STRATEGIES.get(value, value) if isinstance(value, str) else value


Strategy = Annotated[
    Literal["sgs", "rs", "avg", "completion_avg", "single_goal"], BeforeValidator(_strategy)
]


class TrainSettings(Settings):
    """Objective, schedule and hardware of a reward model."""

    reward_model_strategy: Literal["vanilla", "contrastive", "value"] = "vanilla"
    """vanilla: Bradley-Terry loss; contrastive: Bradley-Terry loss plus the contrastive term;
    value: at every token of both completions, the logistic loss of the head's value as the
    probability that the completion is the chosen one"""
    contrastive_strategy: Strategy = "sgs"
    """which goal and negative goal states sources are compared with: sgs: drawn states of the
    chosen and of the rejected completion, the paper's method (also called cosine); rs: drawn states
    of completions of other prompts; avg: the means of all drawn goal and negative goal states of
    the batch; completion_avg: their means within each completion, as in the authors' code (also
    called cosine_avg); single_goal: one drawn state of each completion, shared by all sources. The
    batch of rs and avg is the pairs of one forward pass on all processes: micro_train_batch_size
    times processes, which must be at least 2"""
    contrastive_mean: Literal["pair", "batch"] = "pair"
    """where the sigmoids are averaged before the logarithm: pair: over the draws of each pair, so
    that the loss does not depend on micro-batches and processes; batch: over all pairs of one
    forward pass on all processes, as in the paper"""
    contrastive_loss_beta: float = Field(0.5, ge=0)
    """weight of the contrastive term"""
    sim_samples: int = Field(16, gt=0)
    """positive pairs of a source and a later goal state, drawn from each chosen completion"""
    unsim_samples: int = Field(16, gt=0)
    """sources drawn from the chosen and goal states from the rejected completion; every
    combination is a negative pair"""
    source_state_percentile: Share = 0.0
    """draw sources from the first (1 - p) share of the chosen completion; 0: anywhere"""
    goal_state_percentile: Share = 0.0
    """draw positive and negative goal states from the first (1 - p) share of their completion; 0:
    anywhere"""
    source_late_share: LateShare = 1.0
    """draw sources from the last part of the chosen completion, of this share; 0.1: after the
    90th percentile, the paper's late states; 1: anywhere"""
    goal_late_share: LateShare = 1.0
    """draw positive and negative goal states from the last part of their completion, of this
    share; 0.1: the paper's late goals; 1: anywhere"""
    positives: Literal["future", "cross"] = "future"
    """future: compare each source with later goal states (with rs, with one of its own); cross:
    compare all sources with all goal states, including earlier ones"""
    temperature: float = Field(1.0, gt=0)
    """cosines are divided by this before the sigmoid"""
    preference_loss: Literal["log_sigmoid", "log_exp"] = "log_sigmoid"
    """form of the Bradley-Terry loss of the reward difference d: -log sigmoid(d), or
    log(1 + exp(-d)); both are the same function up to rounding, and both names exist in the
    original commands"""
    center_rewards: float = Field(0.0, ge=0)
    """weight of the mean of (r_chosen + r_rejected)^2, which keeps rewards near 0"""
    value_head_strategy: Literal["linear", "mlp", "mlp_wide"] = "linear"
    """reward head: linear: one layer without bias, as in standard checkpoints; mlp: an MLP with
    three hidden layers of the authors' code's widths (h/2, h/2, h for hidden size h); mlp_wide: of
    the paper's widths (h, h, h); only gcrm can load the MLPs"""
    init_value_head: bool = False
    """draw a new reward head even if the base model is a reward model, whose head is kept
    otherwise"""
    train_layers: int | None = Field(None, ge=0)
    """train only the last n layers, the final norm and the head (default: all layers)"""
    lora_rank: int = Field(0, ge=0)
    """train LoRA matrices of this rank and the head; 0: train all weights"""
    lora_alpha: int = Field(16, gt=0)
    """LoRA updates are scaled by lora_alpha / lora_rank"""
    parity: Literal["none", "official"] = "none"
    """official: the arithmetic, encodings and prompt of the authors' code; the checkpoint stores
    this setting, and represent and evaluate follow it"""

    train_batch_size: int = Field(64, gt=0)
    """preference pairs per optimiser step, over all devices"""
    micro_train_batch_size: int = Field(1, gt=0)
    """preference pairs per forward pass on one device"""
    max_epochs: int = Field(1, gt=0)
    """passes over the pairs"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens; longer pairs are dropped and counted"""
    max_pairs: int | None = Field(None, gt=0)
    """cap on the pairs, chosen by hash of the prompt (default: all)"""
    learning_rate: float = Field(9e-6, gt=0)
    """peak learning rate of AdamW; it falls to 0 as a cosine after the warm-up"""
    warmup_ratio: Share = 0.03
    """share of the steps used for a linear warm-up"""
    adam_betas: tuple[Share, Share] = (0.9, 0.95)
    """decay rates of AdamW's moments"""
    weight_decay: float = Field(0.0, ge=0)
    """weight decay of AdamW"""
    max_norm: float = Field(1.0, gt=0)
    """gradients are clipped to this norm"""

    bf16: bool = False
    """compute in bfloat16 if the device supports it; otherwise in fp32, with a message"""
    flash_attn: bool = False
    """use flash attention 2 if installed, there is a GPU, and the architecture has it; otherwise
    sdpa, or eager if the architecture has no sdpa, with a message"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass: less memory, a third more time"""
    zero_stage: int = Field(0, ge=0, le=3)
    """DeepSpeed ZeRO stage, configured by gcrm/config/zero<stage>.json; 0: no DeepSpeed"""
    deepspeed_config: Path | None = None
    """your own DeepSpeed configuration (JSON), instead of a zero_stage"""

    logging_steps: int = Field(1, gt=0)
    """steps between lines of the training log"""
    save_steps: Steps = -1
    """steps between checkpoints to resume from; -1: only on SIGTERM, SIGHUP and Ctrl-C"""
    max_checkpoints: int = Field(2, gt=0)
    """number of newest checkpoints to keep, one more while it is written; all are removed when
    training is complete"""
    eval_steps: Steps = -1
    """steps between measurements of held-out preference accuracy; -1: never"""
    heldout_share: float = Field(0.05, gt=0, lt=1)
    """share of the prompts, chosen by hash, held out for eval_steps if there is no eval_dataset"""

    @model_validator(mode="after")
    def _batches_divide(self) -> "TrainSettings":
        if self.train_batch_size % self.micro_train_batch_size:
            raise ValueError(
                f"train_batch_size ({self.train_batch_size}) must be a multiple of "
                f"micro_train_batch_size ({self.micro_train_batch_size})"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_training(self) -> "TrainSettings":
        if self.lora_rank and self.train_layers is not None:
            raise ValueError("lora_rank and train_layers exclude each other; give one of them")
        if not self.lora_rank and "lora_alpha" in self.model_fields_set:
            raise ValueError("lora_alpha has no effect without lora_rank; remove it")
        if self.zero_stage and self.deepspeed_config is not None:
            raise ValueError("deepspeed_config sets the stage itself; remove zero_stage")
        return self

    @model_validator(mode="after")
    def _first_or_last_share(self) -> "TrainSettings":
        for state in ("source", "goal"):
            late, percentile = f"{state}_late_share", f"{state}_state_percentile"
            if getattr(self, late) != 1 and getattr(self, percentile) != 0:
                raise ValueError(
                    f"{late} keeps the last part of a completion and {percentile} the first part; "
                    "give one of them"
                )
        return self

    @model_validator(mode="after")
    def _parity_is_whole(self) -> "TrainSettings":
        if self.parity == "none":
            return self
        for name in SET_BY_PARITY:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"parity: official does not support {name}, which the authors' code lacks or "
                    "fixes; remove one of them"
                )
        if self.contrastive_strategy not in ORIGINAL_STRATEGIES.values():
            raise ValueError(
                "parity: official supports only the contrastive_strategy sgs or completion_avg"
            )
        return self

    @model_validator(mode="after")
    def _value_compares_nothing(self) -> "TrainSettings":
        if self.reward_model_strategy != "value":
            return self
        for name in ("preference_loss", "center_rewards", "parity"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is for losses of reward differences, and reward_model_strategy: value "
                    "has none; remove one of them"
                )
        return self

    @model_validator(mode="after")
    def _has_goals_to_cross(self) -> "TrainSettings":
        if self.positives == "cross" and self.contrastive_strategy in ("avg", "single_goal"):
            raise ValueError(
                f"positives: cross does nothing with {self.contrastive_strategy}, which has one "
                "goal state for all sources; remove it"
            )
        return self

    def needs_pool(self) -> list[str]:
        """The chosen settings that compare or average the pairs of one forward pass."""
        if self.reward_model_strategy != "contrastive":
            return []
        strategy = [self.contrastive_strategy] if self.contrastive_strategy in ("rs", "avg") else []
        return strategy + (["contrastive_mean"] if self.contrastive_mean == "batch" else [])

    def too_few_pairs(self, processes: int) -> str | None:
        """What is wrong if the settings need several pairs in a forward pass and it has one."""
        if self.micro_train_batch_size * processes > 1 or not self.needs_pool():
            return None
        return (
            f"micro_train_batch_size: {self.needs_pool()[0]} takes the pairs of one forward pass "
            "together, and here it has one pair; micro_train_batch_size times processes must be at "
            "least 2"
        )


class TrainOptions(TrainSettings, TrackSettings, TrainingOptions):
    """Train a reward model on preference pairs and save it as a standard checkpoint."""

    dataset: Annotated[list[Source], BeforeValidator(split_commas), Field(min_length=1)]
    """preference data: .jsonl or .parquet file, `datasets` folder or hub id (both also with
    :<split>); several are mixed; a number `margin` in every row is subtracted from the reward
    difference"""
    dataset_probs: Annotated[list[float] | None, BeforeValidator(split_commas)] = None
    """share of each dataset in the mixture; must add to 1 (default: use all rows)"""
    eval_dataset: Annotated[list[Source] | None, BeforeValidator(split_commas)] = None
    """held-out preference data for eval_steps (default: heldout_share of the dataset)"""
    curve_path: OutputFile | None = None
    """JSON lines file of the training log, written during training and kept if the job fails
    (default: <save_path>.curve.jsonl)"""
    seed: Seed = 0
    """seed of the head's initial weights, the order of pairs and the sampling of states"""
    use_wandb: SecretStr | None = None
    """wandb API key; never logged or saved"""

    @property
    def sources(self) -> list[str | Path]:
        """The base model with its chat template, and the preference data."""
        return [*self.base_model, *self.dataset]

    @model_validator(mode="after")
    def _probs_match(self) -> "TrainOptions":
        check_shares(self.dataset_probs, self.dataset)
        return self


def check_shares(probs: list[float] | None, sources: list[str]) -> None:
    """Check the shares of a mixture of sources.

    Raises:
        ValueError: their number differs, one is not positive, or they do not add to 1.
    """
    if probs is None:
        return
    if len(probs) != len(sources):
        raise ValueError(f"dataset_probs has {len(probs)} numbers for {len(sources)} datasets")
    if min(probs) <= 0 or abs(sum(probs) - 1) > 1e-6:
        raise ValueError(f"dataset_probs must be positive and add to 1 (got {probs})")

"""Options of `train`. Names and meanings are those of the original commands (Nath et al., 2024)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from gcrm.config.base import Settings, split_commas
from gcrm.config.track import TrackSettings
from gcrm.config.types import OutputFile, OutputFolder, OutputParent, Seed, Source

Share = Annotated[float, Field(ge=0, lt=1)]
LateShare = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Steps = Annotated[int, Field(ge=-1)]

CONTRASTIVE_ONLY = (
    "contrastive_strategy",
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
"""settings of `train` that a vanilla model does without"""
SET_BY_PARITY = (
    "source_late_share",
    "goal_late_share",
    "positives",
    "temperature",
    "center_rewards",
)
"""settings of `train` that the authors' code does not have, or has fixed"""

NO_MATTER = {"save_path", "ckpt_path", "curve_path", "use_wandb", "max_checkpoints"} | set(
    TrackSettings.model_fields
)
"""options of `train` that change nothing of what is trained"""


class TrainSettings(Settings):
    """Objective, schedule and hardware of a reward model."""

    reward_model_strategy: Literal["vanilla", "contrastive"] = "vanilla"
    """vanilla: Bradley-Terry loss; contrastive: plus the goal-conditioned term"""
    contrastive_strategy: Literal["cosine", "cosine_single", "cosine_avg"] = "cosine"
    """what sources are compared with: cosine: goals at random tokens (the paper's RS);
    cosine_single: one goal a completion (SGS); cosine_avg: the mean of the goals, and that of the
    rejected states (AVG)"""
    contrastive_loss_beta: float = Field(0.5, ge=0)
    """weight of the contrastive term"""
    sim_samples: int = Field(16, gt=0)
    """pairs of a source and a later goal state, drawn from each chosen completion"""
    unsim_samples: int = Field(16, gt=0)
    """states drawn from the chosen and from the rejected completion; all pairs are negatives"""
    source_state_percentile: Share = 0.0
    """sources come from the first (1 - p) share of the chosen completion; 0 is anywhere"""
    goal_state_percentile: Share = 0.0
    """goals, and rejected states, come from the first (1 - p) share of their completion; 0 is
    anywhere"""
    source_late_share: LateShare = 1.0
    """sources come from this last share of the chosen completion; 1 is anywhere"""
    goal_late_share: LateShare = 1.0
    """goals, and rejected states, come from this last share of their completion; 1 is anywhere"""
    positives: Literal["future", "cross"] = "future"
    """future: a source is compared with goals behind it; cross: all sources with all goals, some
    of which precede them"""
    temperature: float = Field(1.0, gt=0)
    """cosines are divided by this before the sigmoid"""
    preference_loss: Literal["log_sigmoid", "log_exp"] = "log_sigmoid"
    """the Bradley-Terry loss as -log sigmoid(d) or as log(1 + exp(-d)), d the difference of the
    rewards: the same function, up to rounding; both names exist in the original commands"""
    center_rewards: float = Field(0.0, ge=0)
    """weight of the mean of (r_chosen + r_rejected)^2, which keeps rewards near 0"""
    value_head_strategy: Literal["linear", "mlp"] = "linear"
    """reward head: linear: one layer without bias, as standard checkpoints have; mlp: four layers,
    which gcrm alone can load"""
    train_layers: int | None = Field(None, ge=0)
    """train only this many last layers, the final norm and the head (default: everything)"""
    lora_rank: int = Field(0, ge=0)
    """train LoRA matrices of this rank, and the head, instead of all weights; 0: all weights"""
    lora_alpha: int = Field(16, gt=0)
    """what LoRA's matrices add to the weights is multiplied by lora_alpha / lora_rank"""
    parity: Literal["none", "official"] = "none"
    """official: the arithmetic and the encodings of the paper's own code, its prompt included; the
    checkpoint remembers it, and represent and evaluate follow"""

    train_batch_size: int = Field(64, gt=0)
    """preference pairs an optimiser step, over all devices"""
    micro_train_batch_size: int = Field(1, gt=0)
    """preference pairs a forward pass on one device"""
    max_epochs: int = Field(1, gt=0)
    """passes over the pairs"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens; a longer pair is dropped, and counted"""
    max_pairs: int | None = Field(None, gt=0)
    """cap on the pairs, chosen by hash of the prompt (default: all)"""
    learning_rate: float = Field(9e-6, gt=0)
    """peak learning rate of AdamW, cosine to 0 after the warm-up"""
    warmup_ratio: Share = 0.03
    """share of the steps in which the learning rate rises from 0"""
    adam_betas: tuple[Decay, Decay] = (0.9, 0.95)
    """decay rates of AdamW's moments"""
    weight_decay: float = Field(0.0, ge=0)
    """weight decay of AdamW"""
    max_norm: float = Field(1.0, gt=0)
    """gradients are clipped to this norm"""

    bf16: bool = False
    """compute in bfloat16 where the device can; elsewhere fp32, and said so"""
    flash_attn: bool = False
    """flash attention 2 where installed and a GPU is there; elsewhere sdpa, and said so"""
    gradient_checkpointing: bool = False
    """recompute activations in the backward pass: less memory, a third more time"""
    zero_stage: int = Field(0, ge=0, le=3)
    """DeepSpeed ZeRO stage, 0 to 3, by config/deepspeed/zero<stage>.json; 0: without DeepSpeed"""
    deepspeed_config: Path | None = None
    """DeepSpeed configuration of your own (JSON), in place of that of a zero_stage"""

    logging_steps: int = Field(1, gt=0)
    """steps between two lines of the training log"""
    save_steps: Steps = -1
    """steps between two checkpoints to resume from; -1: none but the one that SIGTERM, SIGHUP and
    Ctrl-C leave"""
    max_checkpoints: int = Field(2, gt=0)
    """the newest checkpoints that are kept; there is one more while it is written, and none when
    the model is trained"""
    eval_steps: Steps = -1
    """steps between two measurements of held-out preference accuracy; -1: none"""
    heldout_share: float = Field(0.05, gt=0, lt=1)
    """share of the prompts, by hash, held out for eval_steps where no eval_dataset is given"""

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
            raise ValueError("lora_rank and train_layers do not go together; give one of them")
        if not self.lora_rank and "lora_alpha" in self.model_fields_set:
            raise ValueError("lora_alpha does nothing without lora_rank; remove it")
        if self.zero_stage and self.deepspeed_config is not None:
            raise ValueError("a deepspeed_config has a stage of its own; remove zero_stage")
        return self

    @model_validator(mode="after")
    def _first_or_last_share(self) -> "TrainSettings":
        for state in ("source", "goal"):
            late, percentile = f"{state}_late_share", f"{state}_state_percentile"
            if getattr(self, late) != 1 and getattr(self, percentile) != 0:
                raise ValueError(
                    f"{late} keeps the last share of a completion and {percentile} the first; "
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
                    f"parity: official takes no {name}, which the authors' code does not have; "
                    "remove one of them"
                )
        if self.contrastive_strategy == "cosine_single":
            raise ValueError("parity: official takes the contrastive_strategy cosine or cosine_avg")
        return self


class TrainOptions(TrainSettings, TrackSettings):
    """Train a reward model on preference pairs and save it as a standard checkpoint."""

    pretrain: Source
    """base model: hub id, folder or .gguf file"""
    dataset: Annotated[list[Source], BeforeValidator(split_commas), Field(min_length=1)]
    """preference data: .jsonl or .parquet file, `datasets` folder, or hub id; several are mixed; a
    number `margin` in every row is subtracted from the difference of the rewards"""
    dataset_probs: Annotated[list[float] | None, BeforeValidator(split_commas)] = None
    """share of each dataset in the mixture, adding to 1 (default: all rows of all)"""
    eval_dataset: Annotated[list[Source] | None, BeforeValidator(split_commas)] = None
    """held-out preference data for eval_steps (default: heldout_share of the dataset)"""
    save_path: OutputFolder
    """folder for the reward model"""
    ckpt_path: OutputParent | None = None
    """folder for checkpoints to resume from (default: <save_path>.checkpoints)"""
    curve_path: OutputFile | None = None
    """JSON lines file of the training as it goes, which outlives a failed job (default:
    <save_path>.curve.jsonl)"""
    seed: Seed = 0
    """seed of the head's first values, the order of pairs and the sampling of states"""
    use_wandb: SecretStr | None = None
    """key of wandb; never logged or saved"""
    trust_remote_code: bool = False
    """run code that comes with a model from the hub"""

    @model_validator(mode="after")
    def _probs_match(self) -> "TrainOptions":
        check_shares(self.dataset_probs, self.dataset)
        return self


def check_shares(probs: list[float] | None, sources: list[str]) -> None:
    """See that the shares of a mixture are those of its sources.

    Raises:
        ValueError: they are not as many, not positive, or do not add to 1.
    """
    if probs is None:
        return
    if len(probs) != len(sources):
        raise ValueError(f"dataset_probs has {len(probs)} numbers for {len(sources)} datasets")
    if min(probs) <= 0 or abs(sum(probs) - 1) > 1e-6:
        raise ValueError(f"dataset_probs must be positive and add to 1 (got {probs})")

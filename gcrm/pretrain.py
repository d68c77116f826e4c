"""Stage `pretrain`: trains the base model of a synthetic run from scratch, on solved problems."""

from gcrm.cli import run_stage
from gcrm.config.pretrain import PretrainOptions
from gcrm.lineage.provenance import write_provenance
from gcrm.utils.gpus import take_gpus
from gcrm.utils.io import atomic_folder, read_jsonl
from gcrm.utils.logging import say


def run(options: PretrainOptions) -> None:
    """Create a tokenizer and a model, train the model, and save a standard checkpoint."""
    problems = read_jsonl(options.problems, texts=("question", "solution"))
    examples = [(problem["question"], problem["solution"]) for problem in problems]
    say(f"pretrain: {len(examples)} problems, {options.steps} steps; loading transformers")
    from gcrm.modeling.saving import save_checkpoint
    from gcrm.synthetic.language_model import make_model, make_tokenizer, pretrain

    tokenizer = make_tokenizer(f"{question} {solution}" for question, solution in examples)
    model = make_model(
        tokenizer, options.layers, options.hidden_size, options.heads, options.data_seed
    )
    losses = pretrain(model, tokenizer, examples, options, options.data_seed)
    with atomic_folder(options.save_path, last="config.json") as folder:
        save_checkpoint(model, tokenizer, folder)
        write_provenance(
            folder / "provenance.json",
            options,
            inputs=[options.problems],
            outputs=sorted(folder.iterdir()),
            parameters=model.num_parameters(),
            vocabulary=len(tokenizer),
            **losses,
        )


if __name__ == "__main__":
    raise SystemExit(run_stage(PretrainOptions, run, before=take_gpus))

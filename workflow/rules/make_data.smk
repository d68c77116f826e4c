# What reward models are made from: problems, a base model, its solutions, preference pairs.
# Only what the config does not bring is made.

BASE_MODEL = settings.base_model or f"{RESULTS}/base_model"
PREFERENCES = settings.preference_sources()
base_model_files = (
    [str(file) for file in files_of(settings.base_model)]
    if settings.base_model
    else [f"{BASE_MODEL}/{name}" for name in CHECKPOINT]
)
preference_files = [str(file) for source in PREFERENCES for file in files_of(source)]
heldout_files = [str(file) for source in settings.heldout_sources() for file in files_of(source)]
downloads = settings.used_downloads()
fetched_files = [str(file) for file in settings.fetched_files()]

# What `prepare` counts the tokens of questions by. The authors' own encoding is not counted.
COUNTED = (
    {
        "base_model": settings.base_model,
        "max_len": settings.evaluate.max_len,
        "max_problems": settings.evaluate.max_problems,
    }
    if settings.base_model
    and settings.completions
    and any(settings.variant(name).parity == "none" for name in settings.variants)
    else {}
)


if settings.made:

    # Make the problems: for the base model, for preference pairs, benchmarks and dev sets.
    rule prepare:
        input:
            heldout=lambda wildcards: heldout_files,
        output:
            problems=[f"{RESULTS}/problems/{name}.jsonl" for name in settings.problem_sets()],
            provenance=f"{RESULTS}/problems/provenance.json",
            report=f"{RESULTS}/data/report.json",
            report_provenance=f"{RESULTS}/data/report.json.provenance.json",
        log:
            f"{RESULTS}/logs/prepare/prepare.log",
        conda:
            "../envs/gcrm.yaml"
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            *tracked("prepare"),
            benchmarks=lambda wildcards: f"benchmarks: {', '.join(settings.benchmarks)}",
            heldout=lambda wildcards: f"heldout: {', '.join(settings.heldout_sources())}",
            data_seed=f"data_seed: {settings.data_seed}",
            code=code("prepare"),
            flags=lambda wildcards, output: flags(
                settings.prepare,
                benchmarks=settings.benchmarks,
                heldout=settings.heldout_sources() or None,
                data_seed=settings.data_seed,
                problems_dir=folder_of(output.problems),
                report=output.report,
            ),
        message:
            "prepare: make problems"
        shell:
            "exec python -m gcrm.prepare {params.flags} --log-file {log:q}"

else:

    # Fetch what the config downloads, check all data, and report questions that training and
    # benchmarks share. What was fetched stays in a folder that Snakemake does not know, since it
    # would delete it with a failed job. Machines that run jobs often have no network: not sent there.
    rule prepare:
        input:
            preferences=lambda wildcards: not_fetched(preference_files),
            completions=lambda wildcards: not_fetched(settings.all_completion_files()),
            heldout=lambda wildcards: not_fetched(heldout_files),
        output:
            report=f"{RESULTS}/data/report.json",
            fetched=fetched_files,
            provenance=f"{RESULTS}/data/report.json.provenance.json",
        log:
            f"{RESULTS}/logs/prepare/prepare.log",
        priority: 1  # what is wrong with the data is said before hours are spent on them
        localrule: bool(downloads)
        conda:
            "../envs/gcrm.yaml"
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            benchmarks=lambda wildcards: f"benchmarks: {', '.join(settings.benchmarks)}",
            heldout=lambda wildcards: f"heldout: {', '.join(settings.heldout_sources())}",
            preferences=lambda wildcards: f"preferences: {', '.join(PREFERENCES)}",
            downloads=[f"downloads.{name}: {download}" for name, download in downloads.items()],
            counted=[f"{key}: {value}" for key, value in COUNTED.items()],
            data_seed=[f"data_seed: {settings.data_seed}"] if downloads else [],
            code=code("prepare"),
            flags=lambda wildcards, output: flags(
                PrepareSettings(),
                benchmarks=settings.benchmarks,
                heldout=settings.heldout_sources() or None,
                dataset=PREFERENCES,
                completions_data_path=settings.completions and settings.completions_folder(),
                **COUNTED,
                report=output.report,
                **(download_flags() if downloads else {}),
            ),
        message:
            f"prepare: {'fetch and ' if downloads else ''}check the data that the run brings"
        shell:
            "exec python -m gcrm.prepare {params.flags} --log-file {log:q}"


if "base_model" in settings.made:

    # Train the base language model on worked problems, from nothing.
    rule pretrain:
        input:
            problems=f"{RESULTS}/problems/pretrain.jsonl",
        output:
            checkpoint=base_model_files,
            provenance=f"{BASE_MODEL}/provenance.json",
        log:
            f"{RESULTS}/logs/pretrain/pretrain.log",
        conda:
            "../envs/gcrm.yaml"
        threads: settings.threads.pretrain
        resources:
            **settings.job("pretrain").resources(4000, GPUS_HERE),
            runtime=120,
        params:
            *tracked("pretrain"),
            data_seed=f"data_seed: {settings.data_seed}",
            code=code("pretrain"),
            threads=settings.threads.pretrain,
            flags=lambda wildcards, input, output: flags(
                settings.pretrain,
                problems=input.problems,
                save_path=folder_of(output.checkpoint),
                data_seed=settings.data_seed,
            ),
        message:
            "pretrain: train the base model from nothing"
        shell:
            "OMP_NUM_THREADS={params.threads} MKL_NUM_THREADS={params.threads} "
            "exec {resources.launcher} -m gcrm.pretrain {params.flags} --log-file {log:q}"


# One job draws all solutions of a set of problems, since loading torch costs more than drawing a few.
# A rule's outputs are fixed, so there is one for each number of samples.
for number in sorted({settings.samples(name) for name in settings.problem_sets()}):

    # Draw solutions from the base model, and label them.
    rule:
        name:
            f"sample_{number}" if number else "sample_greedy"
        input:
            checkpoint=lambda wildcards: base_model_files,
            problems=f"{RESULTS}/problems/{{problem_set}}.jsonl",
        output:
            greedy=f"{RESULTS}/completions/{{problem_set}}/output-greedy.jsonl",
            samples=[
                f"{RESULTS}/completions/{{problem_set}}/output-rs{k}.jsonl" for k in range(number)
            ],
            provenance=f"{RESULTS}/completions/{{problem_set}}/provenance.json",
        log:
            f"{RESULTS}/logs/sample/{{problem_set}}.log",
        wildcard_constraints:
            problem_set=one_of(
                name for name in settings.problem_sets() if settings.samples(name) == number
            ),
        conda:
            "../envs/gcrm.yaml"
        threads: settings.threads.sample
        resources:
            **settings.job("sample").resources(4000, GPUS_HERE),
            runtime=120,
        params:
            *tracked("sample", leave_out=["num_samples"]),
            num_samples=lambda wildcards: "sample.num_samples: "
            f"{settings.samples(wildcards.problem_set)}",
            base_model=lambda wildcards: f"base_model: {BASE_MODEL}",
            data_seed=f"data_seed: {settings.data_seed}",
            code=code("sample"),
            threads=settings.threads.sample,
            flags=lambda wildcards, input, output: flags(
                settings.sample,
                model=BASE_MODEL,
                problems=input.problems,
                save_dir=os.path.dirname(output.greedy),
                num_samples=settings.samples(wildcards.problem_set),
                data_seed=settings.data_seed,
            ),
        message:
            "sample: solutions to {wildcards.problem_set}"
        shell:
            "OMP_NUM_THREADS={params.threads} MKL_NUM_THREADS={params.threads} "
            "exec {resources.launcher} -m gcrm.sample {params.flags} --log-file {log:q}"


if "preferences" in settings.made:

    # Make preference pairs of correct and incorrect solutions.
    rule pair:
        input:
            completions=[
                f"{RESULTS}/completions/{name}/output-{sample}.jsonl"
                for name in settings.problem_sets()
                if name.startswith("preference-")
                for sample in ["greedy", *settings.sample_names(name)]
            ],
        output:
            pairs=preference_files,
            provenance=f"{RESULTS}/preferences/pairs.jsonl.provenance.json",
        log:
            f"{RESULTS}/logs/pair/pair.log",
        conda:
            "../envs/gcrm.yaml"
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            *tracked("pair"),
            data_seed=f"data_seed: {settings.data_seed}",
            code=code("pair"),
            flags=lambda wildcards, input, output: flags(
                settings.pair,
                completions=input.completions,
                output=output.pairs,
                data_seed=settings.data_seed,
            ),
        message:
            "pair: make preference pairs of the solutions"
        shell:
            "exec python -m gcrm.pair {params.flags} --log-file {log:q}"

# Reward models, their goal states and scores: one of each for every variant and seed.


# Train a reward model. An interrupted training resumes from checkpoints in a folder that Snakemake
# does not know, since it would delete it with the failed job. The stage keeps those of other settings,
# data or code apart, so that a changed training starts afresh.
rule train:
    input:
        base_model=lambda wildcards: settings.base_model_files(),
        preferences=lambda wildcards: settings.preference_files(),
    output:
        checkpoint=[f"{MODEL}/{name}" for name in CHECKPOINT],
        facts=f"{MODEL}/reward_model.json",
        card=f"{MODEL}/README.md",
        training_log=f"{MODEL}/training_log.jsonl",
        provenance=f"{MODEL}/{FILE}",
    log:
        jobs.log("train", "{variant}-seed{seed}"),
    priority: 1
    conda:
        "../envs/gcrm.yaml"
    threads: settings.job("train").cores
    resources:
        **jobs.resources("train", mem_mb=8000, runtime=1440),
    params:
        **jobs.params("train", processes=settings.job("train").processes),
    message:
        "train: {wildcards.variant}, seed {wildcards.seed}"
    shell:
        jobs.shell("train")


# Average the last states of the chosen completions to the goal state. A vanilla model gets one, too,
# as a control: Q-values that nothing was trained for.
rule represent:
    input:
        checkpoint=rules.train.output.checkpoint,
        facts=rules.train.output.facts,
        preferences=lambda wildcards: settings.preference_files(),
    output:
        goal_state=f"{GOAL_STATE}/goal_state.npy",
        attributes=[GOAL_STATE / goal_state_file(name) for name in settings.represent.attributes],
        provenance=f"{GOAL_STATE}/{FILE}",
    log:
        jobs.log("represent", "{variant}-seed{seed}"),
    conda:
        "../envs/gcrm.yaml"
    threads: settings.job("represent").cores
    resources:
        **jobs.resources("represent", mem_mb=8000, runtime=480),
    params:
        **jobs.params("represent"),
    message:
        "represent: goal state of {wildcards.variant}, seed {wildcards.seed}"
    shell:
        jobs.shell("represent")


# Score the solutions to a benchmark, or the pairs of a held-out set: reward, partial rewards and
# Q-values of every token.
rule evaluate:
    input:
        checkpoint=rules.train.output.checkpoint,
        facts=rules.train.output.facts,
        goal_state=f"{GOAL_STATE}/{settings.goal_state_name()}",
        data=lambda wildcards: settings.scored_files(wildcards.benchmark, wildcards.split),
    output:
        scores=settings.path("evaluate"),
        provenance=beside(settings.path("evaluate")),
    log:
        jobs.log("evaluate", "{variant}-seed{seed}-{benchmark}-{split}"),
    conda:
        "../envs/gcrm.yaml"
    threads: settings.job("evaluate").cores
    resources:
        **jobs.resources("evaluate", mem_mb=8000, runtime=480),
    params:
        **jobs.params("evaluate"),
    message:
        "evaluate: {wildcards.variant}, seed {wildcards.seed}, {wildcards.benchmark} "
        "({wildcards.split})"
    shell:
        jobs.shell("evaluate")


if settings.goals is not None:

    # Filter the samples of all benchmarks by goal states of few, wrong or mixed examples.
    rule goals:
        input:
            checkpoint=rules.train.output.checkpoint,
            facts=rules.train.output.facts,
            preferences=lambda wildcards: settings.preference_files(),
            samples=settings.goal_samples(),
        output:
            goals=settings.path("goals"),
            provenance=beside(settings.path("goals")),
        log:
            jobs.log("goals", "{variant}-seed{seed}"),
        conda:
            "../envs/gcrm.yaml"
        threads: settings.job("goals").cores
        resources:
            **jobs.resources("goals", mem_mb=8000, runtime=480),
        params:
            **jobs.params("goals"),
        message:
            "goals: {wildcards.variant}, seed {wildcards.seed}"
        shell:
            jobs.shell("goals")


if settings.generate is not None:

    # Sample solutions, and end bad ones while they are generated. The kept samples and the votes on each
    # problem are in a folder for each method; the comparison of all methods is in estimates.json.
    rule generate:
        input:
            base_model=lambda wildcards: settings.base_model_files(),
            checkpoint=rules.train.output.checkpoint,
            facts=rules.train.output.facts,
            goal_state=f"{GOAL_STATE}/{settings.goal_state_name()}",
            problems=lambda wildcards: settings.problems_of(wildcards.benchmark),
        output:
            estimates=settings.path("generate") / "estimates.json",
            votes=[
                settings.path("generate") / method / "votes.jsonl"
                for method in settings.generate.methods
            ],
            provenance=settings.path("generate") / FILE,
        log:
            jobs.log("generate", "{variant}-seed{seed}-{benchmark}"),
        conda:
            "../envs/gcrm.yaml"
        threads: settings.job("generate").cores
        resources:
            **jobs.resources("generate", mem_mb=8000, runtime=480),
        params:
            **jobs.params("generate"),
        message:
            "generate: {wildcards.variant}, seed {wildcards.seed}, {wildcards.benchmark}"
        shell:
            jobs.shell("generate")


# Write scores in the format of the paper's authors; only made when asked for.
rule export:
    input:
        scores=rules.evaluate.output.scores,
    output:
        scores=settings.path("export"),
        provenance=beside(settings.path("export")),
    log:
        jobs.log("export", "{variant}-seed{seed}-{benchmark}-{split}"),
    conda:
        "../envs/gcrm.yaml"
    resources:
        **jobs.resources("export", mem_mb=4000, runtime=60),
    params:
        **jobs.params("export"),
    message:
        "export: {output.scores}"
    shell:
        jobs.shell("export")

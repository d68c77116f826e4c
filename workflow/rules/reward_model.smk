# Reward models and their goal states: one of each for every variant and seed.


# Train a reward model. An interrupted training resumes from checkpoints in a folder that Snakemake
# does not know, since it would delete it with the failed job; inside it, the stage makes one for its
# settings, data and code, so that a changed training starts afresh. So does the curve.
rule train:
    input:
        base_model=lambda wildcards: base_model_files,
        preferences=lambda wildcards: preference_files,
    output:
        checkpoint=[f"{MODEL}/{name}" for name in CHECKPOINT],
        facts=f"{MODEL}/reward_model.json",
        card=f"{MODEL}/README.md",
        training_log=f"{MODEL}/training_log.jsonl",
        provenance=f"{MODEL}/provenance.json",
    log:
        f"{RESULTS}/logs/train/{{variant}}-seed{{seed}}.log",
    conda:
        "../envs/gcrm.yaml"
    threads: settings.job("train").cores
    resources:
        **settings.job("train").resources(8000, GPUS_HERE),
        runtime=1440,
        # No param, since how many checkpoints are kept says nothing of the model.
        max_checkpoints=lambda wildcards: section("train", wildcards).max_checkpoints,
    params:
        *tracked("train", leave_out=["max_checkpoints"]),
        base_model=lambda wildcards: f"base_model: {BASE_MODEL}",
        preferences=lambda wildcards: f"preferences: {', '.join(PREFERENCES)}",
        dataset_probs=lambda wildcards: f"dataset_probs: {settings.dataset_probs}",
        code=code("train"),
        threads=settings.threads.train,
        processes=settings.job("train").processes,
        flags=lambda wildcards, output: flags(
            section("train", wildcards),
            max_checkpoints=None,
            pretrain=BASE_MODEL,
            dataset=PREFERENCES,
            dataset_probs=settings.dataset_probs,
            save_path=folder_of(output.checkpoint),
            ckpt_path=f"{RESULTS}/checkpoints/{wildcards.variant}/seed{wildcards.seed}",
            curve_path=f"{RESULTS}/tracking/{wildcards.variant}-seed{wildcards.seed}.jsonl",
            seed=int(wildcards.seed),
        ),
    message:
        "train: {wildcards.variant}, seed {wildcards.seed}"
    shell:
        "OMP_NUM_THREADS={params.threads} MKL_NUM_THREADS={params.threads} "
        "exec {resources.launcher} -m gcrm.train {params.flags} "
        "--max_checkpoints {resources.max_checkpoints} --log-file {log:q}"


# Average the last states of the chosen completions to the goal state. A vanilla model gets one, too,
# as a control: Q-values that nothing was trained for.
rule represent:
    input:
        checkpoint=rules.train.output.checkpoint,
        facts=rules.train.output.facts,
        preferences=lambda wildcards: preference_files,
    output:
        goal_state=f"{GOAL_STATE}/goal_state.npy",
        attributes=[f"{GOAL_STATE}/goal_state-{name}.npy" for name in settings.represent.attributes],
        provenance=f"{GOAL_STATE}/provenance.json",
    log:
        f"{RESULTS}/logs/represent/{{variant}}-seed{{seed}}.log",
    conda:
        "../envs/gcrm.yaml"
    threads: settings.job("represent").cores
    resources:
        **settings.job("represent").resources(8000, GPUS_HERE),
        runtime=480,
    params:
        *tracked("represent"),
        preferences=lambda wildcards: f"preferences: {', '.join(PREFERENCES)}",
        code=code("represent"),
        threads=settings.threads.represent,
        flags=lambda wildcards, input, output: flags(
            settings.represent,
            dataset_path=PREFERENCES,
            reward_model_path=folder_of(input.checkpoint),
            save_dir=os.path.dirname(output.goal_state),
        ),
    message:
        "represent: goal state of {wildcards.variant}, seed {wildcards.seed}"
    shell:
        "OMP_NUM_THREADS={params.threads} MKL_NUM_THREADS={params.threads} "
        "exec {resources.launcher} -m gcrm.represent {params.flags} --log-file {log:q}"

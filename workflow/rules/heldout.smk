# What the reward models are worth on held-out preferences: the stages evaluate, metrics and
# compare again, with pairs in place of solutions.


# Score both sides of each pair of a held-out set.
rule evaluate_pairs:
    input:
        checkpoint=rules.train.output.checkpoint,
        facts=rules.train.output.facts,
        goal_state=f"{GOAL_STATE}/{settings.goal_state_name()}",
        pairs=lambda wildcards: [
            str(file) for file in files_of(settings.local(settings.heldout[wildcards.benchmark]))
        ],
    output:
        scores=f"{SCORES}/pairs/scores.parquet",
        provenance=f"{SCORES}/pairs/scores.parquet.provenance.json",
    log:
        f"{RESULTS}/logs/evaluate/{{variant}}-seed{{seed}}-{{benchmark}}-pairs.log",
    wildcard_constraints:
        benchmark=one_of(settings.heldout),
    conda:
        "../envs/gcrm.yaml"
    threads: settings.job("evaluate").cores
    resources:
        **settings.job("evaluate").resources(8000, GPUS_HERE),
        runtime=480,
    params:
        *tracked("evaluate", leave_out=["max_problems"]),
        heldout=lambda wildcards: f"heldout.{wildcards.benchmark}: "
        f"{settings.local(settings.heldout[wildcards.benchmark])}",
        code=code("evaluate"),
        threads=settings.threads.evaluate,
        flags=lambda wildcards, input, output: flags(
            settings.evaluate,
            max_problems=None,
            goal_attribute=None,  # the file is named
            reward_model_path=folder_of(input.checkpoint),
            goal_state_path=input.goal_state,
            dataset=settings.local(settings.heldout[wildcards.benchmark]),
            output=output.scores,
        ),
    message:
        "evaluate: {wildcards.variant}, seed {wildcards.seed}, {wildcards.benchmark} (pairs)"
    shell:
        "OMP_NUM_THREADS={params.threads} MKL_NUM_THREADS={params.threads} "
        "exec {resources.launcher} -m gcrm.evaluate {params.flags} --log-file {log:q}"


# Compute preference accuracy with its intervals.
rule metrics_pairs:
    input:
        pairs=rules.evaluate_pairs.output.scores,
    output:
        metrics=f"{METRICS}.json",
        provenance=f"{METRICS}.json.provenance.json",
    log:
        f"{RESULTS}/logs/metrics/{{variant}}-seed{{seed}}-{{benchmark}}.log",
    wildcard_constraints:
        benchmark=one_of(settings.heldout),
    conda:
        "../envs/gcrm.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        *tracked("metrics", leave_out=OF_SOLUTIONS),
        code=code("metrics"),
        flags=lambda wildcards, input, output: flags(
            settings.metrics,
            **dict.fromkeys(OF_SOLUTIONS),
            pair_scores=input.pairs,
            output=output.metrics,
        ),
    message:
        "metrics: {wildcards.variant}, seed {wildcards.seed}, {wildcards.benchmark} (pairs)"
    shell:
        "exec python -m gcrm.metrics {params.flags} --log-file {log:q}"


# Compare the variants on the same pairs: paired differences, over seeds and prompts.
rule compare_pairs:
    input:
        pairs=lambda wildcards: expand(
            rules.evaluate_pairs.output.scores,
            variant=settings.variants,
            seed=settings.seeds,
            benchmark=wildcards.benchmark,
        ),
    output:
        comparisons=f"{COMPARISONS}.json",
        provenance=f"{COMPARISONS}.json.provenance.json",
    log:
        f"{RESULTS}/logs/compare/{{benchmark}}.log",
    wildcard_constraints:
        benchmark=one_of(settings.heldout),
    conda:
        "../envs/gcrm.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        *tracked("compare"),
        *tracked("metrics", leave_out=OF_SOLUTIONS),
        code=code("compare"),
        flags=lambda wildcards, input, output: flags(
            settings.compare,
            **settings.statistics() | dict.fromkeys(OF_SOLUTIONS),
            pair_scores=input.pairs,
            output=output.comparisons,
        ),
    message:
        "compare: variants on {wildcards.benchmark} (pairs)"
    shell:
        "exec python -m gcrm.compare {params.flags} --log-file {log:q}"

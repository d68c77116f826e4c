# What the reward models are worth: scores, metrics, and the report.


# Score a benchmark's solutions: reward, partial rewards and Q-values of every token.
rule evaluate:
    input:
        checkpoint=rules.train.output.checkpoint,
        facts=rules.train.output.facts,
        goal_state=f"{GOAL_STATE}/{settings.goal_state_name()}",
        completions=lambda wildcards: settings.scored_from(wildcards.benchmark, wildcards.split),
    output:
        scores=f"{SCORES}/{{split}}/scores.parquet",
        provenance=f"{SCORES}/{{split}}/scores.parquet.provenance.json",
    log:
        f"{RESULTS}/logs/evaluate/{{variant}}-seed{{seed}}-{{benchmark}}-{{split}}.log",
    conda:
        "../envs/gcrm.yaml"
    threads: settings.job("evaluate").cores
    resources:
        **settings.job("evaluate").resources(8000, GPUS_HERE),
        runtime=480,
    params:
        *tracked("evaluate", leave_out=["max_pairs"]),
        code=code("evaluate"),
        threads=settings.threads.evaluate,
        flags=lambda wildcards, input, output: flags(
            settings.evaluate,
            max_pairs=None,
            reward_model_path=folder_of(input.checkpoint),
            goal_attribute=None,  # the file is named
            goal_state_path=input.goal_state,
            completions_data_path=settings.completions_folder(),
            benchmarks=[wildcards.benchmark],
            splits=[wildcards.split],
            output=output.scores,
        ),
    message:
        "evaluate: {wildcards.variant}, seed {wildcards.seed}, {wildcards.benchmark} "
        "({wildcards.split})"
    shell:
        "OMP_NUM_THREADS={params.threads} MKL_NUM_THREADS={params.threads} "
        "exec {resources.launcher} -m gcrm.evaluate {params.flags} --log-file {log:q}"


# Write scores in the format of the paper's authors; only made when asked for.
rule export:
    input:
        scores=rules.evaluate.output.scores,
    output:
        scores=f"{SCORES}/{{split}}/output.jsonl",
        provenance=f"{SCORES}/{{split}}/output.jsonl.provenance.json",
    log:
        f"{RESULTS}/logs/export/{{variant}}-seed{{seed}}-{{benchmark}}-{{split}}.log",
    conda:
        "../envs/gcrm.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=code("export"),
    message:
        "export: {output.scores}"
    shell:
        "exec python -m gcrm.export --scores {input.scores:q} --output {output.scores:q} "
        "--log-file {log:q}"


# Compute AUROC and votes with their intervals.
rule metrics:
    input:
        greedy=f"{SCORES}/greedy/scores.parquet",
        samples=lambda wildcards: [
            f"{SCORES}/all/scores.parquet".format(**wildcards)
            for split in settings.splits(wildcards.benchmark)
            if split == "all"
        ],
    output:
        metrics=f"{METRICS}.json",
        provenance=f"{METRICS}.json.provenance.json",
    log:
        f"{RESULTS}/logs/metrics/{{variant}}-seed{{seed}}-{{benchmark}}.log",
    conda:
        "../envs/gcrm.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        *tracked("metrics"),
        code=code("metrics"),
        flags=lambda wildcards, input, output: flags(
            settings.metrics,
            scores=input.greedy,
            sample_scores=input.samples[0] if input.samples else None,
            output=output.metrics,
        ),
    message:
        "metrics: {wildcards.variant}, seed {wildcards.seed}, {wildcards.benchmark}"
    shell:
        "exec python -m gcrm.metrics {params.flags} --log-file {log:q}"


# Compare the variants on the same completions: paired differences, over seeds and problems.
rule compare:
    input:
        greedy=lambda wildcards: scores_of_all(wildcards.benchmark, "greedy"),
        samples=lambda wildcards: scores_of_all(wildcards.benchmark, "all"),
    output:
        comparisons=f"{COMPARISONS}.json",
        provenance=f"{COMPARISONS}.json.provenance.json",
    log:
        f"{RESULTS}/logs/compare/{{benchmark}}.log",
    conda:
        "../envs/gcrm.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        *tracked("compare"),
        *tracked("metrics", leave_out=["correlation_percentiles"]),
        code=code("compare"),
        flags=lambda wildcards, input, output: flags(
            settings.compare,
            **settings.statistics(),
            scores=input.greedy,
            sample_scores=input.samples or None,
            output=output.comparisons,
        ),
    message:
        "compare: variants on {wildcards.benchmark}"
    shell:
        "exec python -m gcrm.compare {params.flags} --log-file {log:q}"


# Put the metrics of all variants into tables and figures. Score tables, training logs and tokenizers
# are for what metrics do not have: the course of Q-values, rewards, training, single solutions.
rule report:
    input:
        metrics=expand(
            f"{METRICS}.json",
            variant=settings.variants,
            seed=settings.seeds,
            benchmark=settings.benchmarks,
        ),
        heldout=expand(
            f"{METRICS}.json",
            variant=settings.variants,
            seed=settings.seeds,
            benchmark=list(settings.heldout),
        ),
        comparisons=expand(
            f"{COMPARISONS}.json", benchmark=settings.benchmarks if settings.compares else []
        ),
        heldout_comparisons=expand(
            f"{COMPARISONS}.json", benchmark=list(settings.heldout) if settings.compares else []
        ),
        scores=expand(
            f"{SCORES}/greedy/scores.parquet",
            variant=settings.variants,
            seed=settings.seeds,
            benchmark=settings.benchmarks,
        ),
        training_logs=expand(
            f"{MODEL}/training_log.jsonl", variant=settings.variants, seed=settings.seeds
        ),
        tokenizers=expand(
            f"{MODEL}/{{name}}",
            variant=settings.variants,
            seed=min(settings.seeds),
            name=contents.FOR_TOKENS,
        ),
        data=rules.prepare.output.report,
        published=os.path.relpath(f"{workflow.basedir}/published.jsonl"),
    output:
        report=f"{REPORT}/report.md",
        summary=f"{REPORT}/summary.txt",
        figures=shown(contents.figures(SCOPE), contents.figure_files),
        tables=shown(contents.tables(SCOPE), contents.table_files),
        solutions=(
            report(
                f"{REPORT}/{contents.SOLUTIONS}",
                caption="../report/solutions.rst",
                category="Q-values",
                labels={"figure": "solutions, token by token", "of": "all variants"},
            )
            if SCOPE.benchmarks
            else []
        ),
        provenance=f"{REPORT}/provenance.json",
    log:
        f"{RESULTS}/logs/report/report.log",
    conda:
        "../envs/gcrm.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        *tracked("report"),
        code=code("report"),
        flags=lambda wildcards, input, output: flags(
            settings.report,
            run=settings.run,
            base_model=settings.base_model,
            metrics=input.metrics or None,
            comparisons=input.comparisons or None,
            heldout_metrics=input.heldout or None,
            heldout_comparisons=input.heldout_comparisons or None,
            scores_dir=f"{RESULTS}/scores",
            models_dir=f"{RESULTS}/models",
            published=input.published,
            data_report=input.data,
            save_dir=os.path.dirname(output.report),
        ),
    message:
        "report: tables and figures of the run"
    shell:
        "exec python -m gcrm.report {params.flags} --log-file {log:q}"

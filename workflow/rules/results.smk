# How good the reward models are: metrics, comparisons, the report.

# Snakemake copies the file of a remote workflow. That of this checkout keeps its path.
PUBLISHED = os.path.relpath(
    PROJECT / "workflow/published.jsonl" if IS_LOCAL else workflow.source_path("../published.jsonl")
)


# Compute AUROC and votes of a benchmark, or preference accuracy of a held-out set, with intervals.
rule metrics:
    input:
        scores=lambda wildcards: settings.measured_files(wildcards),
    output:
        metrics=settings.path("metrics"),
        provenance=beside(settings.path("metrics")),
    log:
        jobs.log("metrics", "{variant}-seed{seed}-{benchmark}"),
    conda:
        "../envs/gcrm.yaml"
    resources:
        **jobs.resources("metrics", mem_mb=4000, runtime=60),
    params:
        **jobs.params("metrics"),
    message:
        "metrics: {wildcards.variant}, seed {wildcards.seed}, {wildcards.benchmark}"
    shell:
        jobs.shell("metrics")


# Compare the variants on the same completions: paired differences, over seeds and problems.
rule compare:
    input:
        scores=lambda wildcards: settings.compared_files(wildcards.benchmark),
    output:
        comparisons=settings.path("compare"),
        provenance=beside(settings.path("compare")),
    log:
        jobs.log("compare", "{benchmark}"),
    conda:
        "../envs/gcrm.yaml"
    resources:
        **jobs.resources("compare", mem_mb=4000, runtime=60),
    params:
        **jobs.params("compare"),
    message:
        "compare: variants on {wildcards.benchmark}"
    shell:
        jobs.shell("compare")


# Put the metrics of all variants into tables and figures. Score tables, training logs and tokenizers
# are for what metrics do not have: the course of Q-values, rewards, training, single solutions.
rule report:
    input:
        metrics=settings.metrics_files(),
        comparisons=settings.comparison_files(),
        goals=settings.goals_files(),
        generated=[folder / "estimates.json" for folder in settings.generate_folders()],
        scores=[
            file for name in settings.benchmarks for file in settings.score_files(name, "greedy")
        ],
        training_logs=settings.model_files(["training_log.jsonl"]),
        tokenizers=settings.model_files(contents.FOR_TOKENS, seed=min(settings.seeds)),
        data=rules.prepare.output.report,
        published=PUBLISHED,
    output:
        report=f"{RESULTS}/report/report.md",
        summary=f"{RESULTS}/report/summary.txt",
        parts=[shown(*file) for file in contents.report_files(contents.scope_of(settings))],
        provenance=f"{RESULTS}/report/{FILE}",
    log:
        jobs.log("report", "report"),
    conda:
        "../envs/gcrm.yaml"
    resources:
        **jobs.resources("report", mem_mb=4000, runtime=60),
    params:
        **jobs.params("report"),
    message:
        "report: tables and figures of the run"
    shell:
        jobs.shell("report", "--published {input.published:q} ")


# Collect the final metrics in one file and, where the config names a project, on wandb. On this machine
# and not on a cluster, whose nodes often have no network.
rule track:
    input:
        metrics=rules.report.input.metrics,
        comparisons=rules.report.input.comparisons,
        curves=rules.report.input.training_logs,
    output:
        metrics=settings.path("track"),
        provenance=beside(settings.path("track")),
    log:
        jobs.log("track", "track"),
    localrule: True
    conda:
        "../envs/gcrm.yaml"
    resources:
        **jobs.resources("track", mem_mb=1000, runtime=30),
    params:
        **jobs.params("track"),
    message:
        "track: final metrics of the run"
    shell:
        jobs.shell("track")

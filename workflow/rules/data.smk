# What reward models are made from: problems, a base model, its solutions, preference pairs.
# The run makes only what the config does not bring.


# Make the problems of a run that makes its data. Otherwise fetch what the config downloads, check all
# data before hours are spent on them, and report questions that training and benchmarks share.
# Downloads stay in a folder that Snakemake does not know, since it would delete it with a failed job.
# They are made on this machine, since the nodes of a cluster often have no network.
rule prepare:
    input:
        data=lambda wildcards: settings.checked_files(),
    output:
        report=settings.path("prepare"),
        provenance=beside(settings.path("prepare")),
        problems=settings.problem_files(),
        problems_provenance=[f"{RESULTS}/problems/{FILE}"] if settings.prepare else [],
        fetched=settings.fetched_files(),
    log:
        jobs.log("prepare", "prepare"),
    priority: 1
    localrule: bool(settings.used_downloads())
    conda:
        "../envs/gcrm.yaml"
    resources:
        **jobs.resources("prepare", mem_mb=4000, runtime=60),
    params:
        **jobs.params("prepare"),
    message:
        "prepare: "
        + ("fetch and " if settings.used_downloads() else "")
        + ("make problems" if settings.prepare else "check the data that the run brings")
    shell:
        jobs.shell("prepare")


if "base_model" in settings.made:

    # Train the base language model on worked problems, from nothing.
    rule pretrain:
        input:
            problems=f"{RESULTS}/problems/pretrain.jsonl",
        output:
            checkpoint=settings.base_model_files(),
            provenance=settings.path("pretrain") / FILE,
        log:
            jobs.log("pretrain", "pretrain"),
        conda:
            "../envs/gcrm.yaml"
        threads: settings.job("pretrain").cores
        resources:
            **jobs.resources("pretrain", mem_mb=4000, runtime=120),
        params:
            **jobs.params("pretrain"),
        message:
            "pretrain: train the base model from nothing"
        shell:
            jobs.shell("pretrain")


SOLUTIONS = settings.path("sample")


# Draw solutions from the base model, and label them. One job draws all of a set, since loading torch
# takes longer than drawing a few. A rule's outputs are fixed: there is one for each number of samples.
for number in sorted({settings.samples(name) for name in settings.problem_sets()}):

    rule:
        name:
            f"sample_{number}" if number else "sample_greedy"
        input:
            checkpoint=lambda wildcards: settings.solver_files(),
            problems=f"{RESULTS}/problems/{{problem_set}}.jsonl",
        output:
            greedy=f"{SOLUTIONS}/output-greedy.jsonl",
            samples=[f"{SOLUTIONS}/output-rs{k}.jsonl" for k in range(number)],
            provenance=f"{SOLUTIONS}/{FILE}",
        log:
            jobs.log("sample", "{problem_set}"),
        wildcard_constraints:
            problem_set=one_of(
                name for name in settings.problem_sets() if settings.samples(name) == number
            ),
        # The longest chain of jobs goes through the pairs.
        priority: 1 if number == settings.samples("preference-") else 0
        conda:
            "../envs/gcrm.yaml"
        threads: settings.job("sample").cores
        resources:
            **jobs.resources("sample", mem_mb=4000, runtime=120),
        params:
            **jobs.params("sample"),
        message:
            "sample: solutions to {wildcards.problem_set}"
        shell:
            jobs.shell("sample")


if "preferences" in settings.made:

    # Make preference pairs of correct and incorrect solutions.
    rule pair:
        input:
            completions=settings.paired_files(),
        output:
            pairs=settings.path("pair"),
            provenance=beside(settings.path("pair")),
        log:
            jobs.log("pair", "pair"),
        priority: 1
        conda:
            "../envs/gcrm.yaml"
        resources:
            **jobs.resources("pair", mem_mb=2000, runtime=30),
        params:
            **jobs.params("pair"),
        message:
            "pair: make preference pairs of the solutions"
        shell:
            jobs.shell("pair")

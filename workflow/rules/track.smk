# The final metrics in one file and, where the config names a project, on wandb.


# Collect the numbers. Here and not on a cluster, whose machines often have no network.
rule track:
    input:
        metrics=rules.report.input.metrics,
        heldout=rules.report.input.heldout,
        comparisons=rules.report.input.comparisons,
        heldout_comparisons=rules.report.input.heldout_comparisons,
        curves=rules.report.input.training_logs,
    output:
        metrics=f"{RESULTS}/tracking/metrics.jsonl",
        provenance=f"{RESULTS}/tracking/metrics.jsonl.provenance.json",
    log:
        f"{RESULTS}/logs/track/track.log",
    localrule: True
    conda:
        "../envs/gcrm.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        *tracked("track"),
        code=code("track"),
        flags=lambda wildcards, input, output: flags(
            settings.tracking(),
            run=settings.run,
            metrics=[*input.metrics, *input.heldout],
            comparisons=[*input.comparisons, *input.heldout_comparisons] or None,
            models_dir=f"{RESULTS}/models",
            output=output.metrics,
        ),
    message:
        "track: final metrics of the run"
    shell:
        "exec python -m gcrm.track {params.flags} --log-file {log:q}"

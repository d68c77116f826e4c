# Policies: language models trained against the reward models of the run, or on its pairs by DPO. They
# are made only when asked for: `snakemake policies`.


if settings.policies:

    POLICY = settings.path("policy")

    # Train a policy, and let it solve the benchmarks. An interrupted training resumes as in `train`.
    rule policy:
        input:
            base_model=lambda wildcards: settings.base_model_files(),
            preferences=lambda wildcards: settings.preference_files(),
            reward_model=lambda wildcards: settings.policy_reward_model_files(wildcards),
            dev_problems=settings.policy_problems(dev=True),
            problems=settings.policy_problems(dev=False),
        output:
            checkpoint=[f"{POLICY}/{name}" for name in CHECKPOINT],
            training_log=f"{POLICY}/training_log.jsonl",
            solutions=f"{POLICY}/solutions.jsonl",
            provenance=f"{POLICY}/{FILE}",
        log:
            jobs.log("policy", "{policy}-seed{seed}"),
        conda:
            "../envs/gcrm.yaml"
        threads: settings.job("policy").cores
        resources:
            **jobs.resources("policy", mem_mb=8000, runtime=1440),
        params:
            **jobs.params("policy"),
        message:
            "policy: {wildcards.policy}, seed {wildcards.seed}"
        shell:
            jobs.shell("policy")

    # Compare the policies with each other and with the base model.
    rule policies:
        input:
            policies=settings.policy_files("solutions.jsonl", "training_log.jsonl"),
            base=settings.base_solutions(),
        output:
            report=settings.path("policies") / "report.md",
            accuracy=settings.path("policies") / "accuracy.csv",
            figures=[
                settings.path("policies") / f"figures/training.{kind}" for kind in ("svg", "png")
            ],
            provenance=settings.path("policies") / FILE,
        log:
            jobs.log("policies", "policies"),
        conda:
            "../envs/gcrm.yaml"
        resources:
            **jobs.resources("policies", mem_mb=4000, runtime=60),
        params:
            **jobs.params("policies"),
        message:
            "policies: compare the policies"
        shell:
            jobs.shell("policies")

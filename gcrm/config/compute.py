"""The option that all stages that compute with torch share."""

from gcrm.config.base import Settings


class ComputeOptions(Settings):
    """How a stage computes."""

    reproducible: bool = False
    """give the same bits on every x86-64 CPU that has AVX2, at the same number of threads; it
    computes on the CPU, unless GPUs were taken for it, and is slower on CPUs with AVX-512"""

"""Metrics with intervals: bootstrap, votes, answers, differences of variants."""

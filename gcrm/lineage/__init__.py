"""Where a result comes from: provenance, code fingerprints, resumption."""

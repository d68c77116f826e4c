"""The report of a run: tables, figures and pages."""

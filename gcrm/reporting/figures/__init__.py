"""The figures of the report: one kind a module, one style, drawn from plain numbers."""

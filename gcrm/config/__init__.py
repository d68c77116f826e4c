"""Typed settings, one file a stage: a section of the config and the options of a command in one."""

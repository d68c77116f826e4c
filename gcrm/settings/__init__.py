"""Typed settings, one module a stage: the config's sections and the commands' options in one."""

"""The templates of report.md, summary.txt and the HTML pages."""

from functools import partial

from gcrm.utils.templates import render_template

render = partial(render_template, "gcrm.reporting.templates")

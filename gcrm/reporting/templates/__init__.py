"""The templates of report.md, summary.txt and the HTML pages."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **context: Any) -> str:
    """Render a template of this folder; HTML templates escape their values."""
    return _environment().get_template(template).render(context)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("gcrm.reporting.templates", ""),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["file_name"] = _file_name
    return environment


def _file_name(source: str) -> str:
    """A source without its folders, which mean nothing on other machines."""
    return Path(source).name if Path(source).is_absolute() else source

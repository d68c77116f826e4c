"""The documentation of the config, made from its models: tables of settings, and the JSON schema.

`python -m gcrm.config.reference` renews both from the field descriptions, in the checkout that the
package lies in: the tables in config/README.md, between `<!-- settings: <section> -->` and
`<!-- end -->`, and workflow/schemas/config.schema.json, with which editors complete a config.
"""

import json
import re
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from gcrm.config.download import Download, RemoteFile
from gcrm.config.run import Config
from gcrm.config.types import parts_of

ROOT = Path(__file__).parents[2]
README = ROOT / "config" / "README.md"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
TABLE = re.compile(r"(<!-- settings: (?P<section>\S+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


class _Untitled(GenerateJsonSchema):
    """Without titles, which pydantic makes of the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> str:
    """The JSON schema of a config."""
    return json.dumps(Config.model_json_schema(schema_generator=_Untitled), indent=2) + "\n"


def with_tables(text: str) -> str:
    """A page with a new table in place of each one between the marks.

    Raises:
        KeyError: a mark names a section that the config does not have.
    """
    return TABLE.sub(lambda match: f"{match[1]}\n{table(sections()[match['section']])}\n", text)


def sections() -> dict[str, type[BaseModel]]:
    """The models of the config by section; `run` has the keys that are in no section."""
    found: dict[str, type[BaseModel]] = {"run": Config, "download": Download, "file": RemoteFile}
    for name, field in Config.model_fields.items():
        if (model := _section_of(field)) is not None:
            found[name] = model
    return found


def table(model: type[BaseModel]) -> str:
    """The fields of a model as Markdown: name, default, and description with unit and range."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if model is Config and _section_of(field) is not None:
            continue
        description = " ".join((field.description or "").split())
        description = re.sub(r"(?<![`\w])([^\s`(]*<\w+>[^\s`,;)]*)", r"`\1`", description)
        rows.append(f"| `{name}` | {_default(field)} | {description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section of the config; None for keys and mappings."""
    kinds = [field.annotation, *parts_of(field.annotation)]
    if get_origin(field.annotation) is dict:
        return None
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return models[0] if models else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ([], {}, ""):
        return ""
    return f"`{json.dumps(default)}`"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")

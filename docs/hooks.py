"""Hooks of the documentation build: pages that are made from files outside `docs/`."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put config/README.md, which also reads on its own, into the page about the configuration."""
    if page.file.src_uri != "configuration.md":
        return markdown
    text = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    text = text.replace("](../docs/", "](")
    return re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", text)  # other files are not on the site

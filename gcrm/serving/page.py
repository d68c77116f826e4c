"""The page at /: one file, which loads nothing."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("page.html")


@cache
def page() -> str:
    """The page."""
    return FILE.read_text(encoding="utf-8")


def policy() -> str:
    """Its content security policy: its own script and style, by hash, and the server itself."""
    hashes = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
            for content in re.findall(rf"<{tag}>(.*?)</{tag}>", page(), re.DOTALL)
        )
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )

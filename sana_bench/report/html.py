"""report.html: one file. What stands in a record is escaped, and a content security policy lets nothing else run or load."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from sana_bench.report.charts import difference_words
from sana_bench.report.page import Page
from sana_bench.report.wording import TESTS, as_toml, interval, limits, mebibytes, number, percent, probability, signed

TEMPLATES = Path(__file__).parent / "templates"
FILTERS = {"number": number, "signed": signed, "percent": percent, "mebibytes": mebibytes, "as_toml": as_toml, "probability": probability}


def render_html(page: Page) -> str:
    """The whole page as one document without any outside reference."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(FILTERS)
    environment.globals.update(interval=interval, limits=limits, difference_words=difference_words, tests=TESTS)
    style, script = (Markup((TEMPLATES / name).read_text()) for name in ("report.css", "report.js"))
    policy = (f"default-src 'none'; img-src data:; style-src {_hash_source(style)}; script-src {_hash_source(script)}; "
              "base-uri 'none'; form-action 'none'")
    return environment.get_template("report.html.j2").render(page=page, style=style, script=script, policy=policy)


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

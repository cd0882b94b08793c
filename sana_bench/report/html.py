"""report.html: one file. What stands in a record is escaped, and a content security policy lets nothing else run or load."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from sana_bench.report.charts import difference_words
from sana_bench.report.page import Page
from sana_bench.report.wording import TESTS, as_toml, interval, limits, mebibytes, number, percent, probability, signed

TEMPLATES = Path(__file__).parent / "templates"
FILTERS = {"number": number, "signed": signed, "percent": percent, "mebibytes": mebibytes, "as_toml": as_toml, "probability": probability}


def render_html(page: Page) -> str:
    """The whole page as one document without any outside reference."""
    return render_document("report.html.j2", (TEMPLATES,), ("report.css",), "report.js", page=page)


def render_document(template: str, folders: Sequence[Path], styles: Sequence[str], script: str = "", **shown: object) -> str:
    """A template as one document without any outside reference; a policy in it lets nothing else run or load.

    Args:
        folders: Where the template, the styles and the script are.
        shown: What the template may name.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(folders)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(FILTERS)
    environment.globals.update(interval=interval, limits=limits, difference_words=difference_words, tests=TESTS)

    def text_of(name: str) -> Markup:
        return Markup(loader.get_source(environment, name)[0])

    style, code = Markup("").join(map(text_of, styles)), text_of(script) if script else Markup("")
    runs = _hash_source(code) if script else "'none'"
    policy = (f"default-src 'none'; img-src data:; style-src {_hash_source(style)}; script-src {runs}; "
              "base-uri 'none'; form-action 'none'")
    return environment.get_template(template).render(style=style, script=code, policy=policy, **shown)


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

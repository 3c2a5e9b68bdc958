"""Pages that need nothing but themselves: one HTML file with its style and images inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from modrwkv_core.storage.files import write_text

__all__ = ["write_page"]


def write_page(path: Path, package: str, template: str, **values: Any) -> None:
    """Write a page, which appears whole or not at all.

    Args:
        path: The HTML file.
        package: The package that holds the template.
        template: Its file name; it extends ``page.html.j2`` of this package.
        values: What the template shows; all text is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, "") for name in dict.fromkeys((package, __package__))]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(path, environment.get_template(template).render(**values))

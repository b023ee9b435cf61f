"""Pure: a template and what fills it, to the text of a file on a host."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parents[2] / "templates"

# Not of a web page: what fills a template was checked when the inventory was read.
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
)


def render(template: str, **values: Any) -> str:
    """The text of the template at this path below `templates/`."""
    return _template(template).render(values)


# Jinja's own cache looks at the file each time, which is once for each tunnel.
_template = cache(_ENVIRONMENT.get_template)

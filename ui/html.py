"""HTML from the templates in `templates/`. What is put into one is escaped, whoever wrote it: it is shown as it was typed."""

import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_NAMED = re.compile(r"&lt;[^\s&<>]+&gt;")  # <name>, escaped
_BETWEEN = re.compile(r"(?<=[>}])\s*\n\s*|\s*\n\s*(?=[<{])")  # line breaks between tags


def say(text: str) -> str:
    """A text as one line of inert HTML. One line, because a blank one would hand the rest to a Markdown parser."""
    return escape(text, quote=True).replace("\n", " ")


def say_named(text: str) -> str:
    """As `say`, each line in a block that runs as its first letter does, with every <name> marked as the concept it may be."""
    lines = (_NAMED.sub(r'<span class="named">\g<0></span>', say(line)) or "<br>" for line in text.split("\n"))
    return "".join(f'<div dir="auto">{line}</div>' for line in lines)


def picture_address(name: str, show: bool = True) -> str:
    """Where the page finds a kept picture: enlarged for the eye, or as it was drawn."""
    return f"pictures/{name}.png?{'show' if show else 'download'}"


class _OneLine(FileSystemLoader):
    """Templates without line breaks, for the same reason as in `say`."""

    def get_source(self, environment: Environment, template: str) -> Any:
        source, *others = super().get_source(environment, template)
        return re.sub(r"\s*\n\s*", " ", _BETWEEN.sub("", source)), *others


_ENVIRONMENT = Environment(loader=_OneLine(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined, auto_reload=False)
_ENVIRONMENT.filters |= {"say": lambda text: Markup(say(text)), "named": lambda text: Markup(say_named(text)), "address": picture_address, "id": id,
                         "percent": lambda share: f"{100 * share:.0f}"}


def macro(template: str, name: str, **known: Any) -> Callable[..., str]:
    """A template's macro as a function that returns HTML. `known`: what it may look at beside its arguments."""
    found = getattr(_ENVIRONMENT.get_template(template, globals=known).module, name)
    return lambda *args, **kwargs: str(found(*args, **kwargs))

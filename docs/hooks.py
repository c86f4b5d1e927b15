"""What mkdocs fills in while it builds the site: settings from their classes, results and nets from their own files."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from fastnst import settings
from fastnst.cli import CONF
from fastnst.schema import Settings, as_typed, entries_here, groups

ROOT = Path(__file__).parent.parent
PAGES = {"results.md": "benchmarks/RESULTS.md", "nets.md": "checkpoints/README.md"}
PICTURES = "checkpoints/*.png"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and pictures that lie elsewhere in the repository."""
    for name, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=re.sub(r"\]\((?:\.\./)?docs/", "](", text)))
    for path in ROOT.glob(PICTURES):
        files.append(File.generated(config, path.name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts a command's settings where a page says `<!-- settings: infer -->`."""
    return re.sub(r"<!-- settings: (\w+) -->", lambda found: settings_of(found.group(1)), markdown)


def settings_of(command: str) -> str:
    """Returns the settings of a command as tables, from their class."""
    schema: type[Settings] = getattr(settings, f"{command.capitalize()}Settings")
    return "\n".join(tables(schema)) + (choices() if groups(schema) else "")


def tables(schema: type[Settings]) -> list[str]:
    """Returns the lines of a table of the settings of a class, and of one for each of its groups."""
    lines = ["", "| setting | default | what it does | may be |", "|---|---|---|---|"]
    for each in entries_here(schema):
        default = "must be given" if each.option.example else f"`{as_typed(each.default)}`"
        lines.append(f"| `{each.name}` | {default} | {cell(each.option.doc)} | {cell(each.allowed)} |")
    for name, part in groups(schema).items():
        lines += ["", f"**{part.PREFIX or name}** {cell((part.__doc__ or '').partition(chr(10))[0])}", *tables(part)]
    return [*lines, ""]


def choices() -> str:
    """Returns a list of the groups that have choices, each a file in conf/."""
    lines = []
    for folder in sorted(path for path in CONF.iterdir() if path.is_dir()):
        names = ", ".join(f"`{folder.name}={file.stem}`" for file in sorted(folder.glob("*.yaml")))
        lines.append(f"- {names}")
    return "\nChoices, each a file in `conf/` that sets several of these at once:\n\n" + "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Returns text that fits a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")

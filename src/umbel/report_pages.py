"""A report's blocks as one HTML file that needs nothing else, or as Markdown; knows nothing of packs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from umbel.document import Block, Heading, Items, Paragraph, Plot, Said, Table, Text

Language = Literal["en", "zh"]

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif; color: #1c1c1c;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1.05rem; margin-top: 1.6rem; }
table { border-collapse: collapse; font-size: .85rem; margin: .8rem 0; }
th, td { border-bottom: 1px solid #e4e4e4; padding: .2rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { border-bottom: 2px solid #bbb; } .number { text-align: right; white-space: nowrap; }
figure { margin: .8rem 0; break-inside: avoid; } figcaption { font-size: .85rem; color: #555; }
svg { max-width: 100%; height: auto; } .wide { overflow-x: auto; }
.zh { display: none; } #zh:checked ~ main .zh { display: inline; } #zh:checked ~ main .en { display: none; }
input { margin-left: 0; } label { margin-right: 1rem; }
@media print { input, label { display: none; } body { max-width: none; margin: 0; font-size: 11px; }
  h2, h3 { break-after: avoid; } tr { break-inside: avoid; } .wide { overflow: visible; } }
"""
_CODE = re.compile(r"`([^`]+)`")
_CELL = str.maketrans({"|": "\\|", "\n": " ", "\r": " "})


def html_page(title: str, blocks: Iterable[Block], language: Language = "en") -> str:
    """Return one HTML file in both languages; a reader chooses, `language` comes first. It loads nothing."""
    parts = "\n".join(_html(block, number) for number, block in enumerate(blocks))
    marks = {name: " checked" if name == language else "" for name in ("en", "zh")}
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<input type="radio" name="language" id="en"{marks["en"]}><label for="en">English</label>\n'
        f'<input type="radio" name="language" id="zh"{marks["zh"]}><label for="zh">中文</label>\n'
        f"<main>\n{parts}\n</main>\n</body>\n</html>\n"
    )


def _html(block: Block, number: int) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{_spans(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_spans(text)}</p>"
        case Items(items):
            return "<ul>" + "".join(f"<li>{_spans(item)}</li>" for item in items) + "</ul>"
        case Table(head, rows, numbers):
            return _html_table(head, rows, numbers)
        case Plot(svg, caption):
            return f"<figure>{_own_names(svg, number)}<figcaption>{_spans(caption)}</figcaption></figure>"


def _html_table(head: Sequence[Text], rows: Sequence[Sequence[Text]], numbers: Sequence[int]) -> str:
    def cells(row: Sequence[Text], tag: str) -> str:
        marks = [' class="number"' if place in numbers else "" for place in range(len(row))]
        return "".join(f"<{tag}{mark}>{_spans(cell)}</{tag}>" for mark, cell in zip(marks, row, strict=True))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells(head, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _spans(text: Text) -> str:
    if isinstance(text, str):
        return escape(text)
    said = {name: _CODE.sub(r"<code>\1</code>", escape(getattr(text, name))) for name in ("en", "zh")}
    return "".join(f'<span class="{name}" lang="{name}">{words}</span>' for name, words in said.items())


def _own_names(svg: str, number: int) -> str:
    """Give the names inside a drawing a prefix of their own: those of several in one page must not meet."""
    names = set(re.findall(r'\bid="([^"]+)"', svg))
    svg = re.sub(r'\bid="([^"]+)"', lambda f: f'id="p{number}-{f[1]}"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", lambda f: f"url(#p{number}-{f[1]})" if f[1] in names else f[0], svg)
    return re.sub(r'href="#([^"]+)"', lambda f: f'href="#p{number}-{f[1]}"' if f[1] in names else f[0], svg)


def markdown_page(blocks: Iterable[Block], language: Language = "en") -> str:
    """Return the report in one language as Markdown; plots are left to the HTML file, what they show is named."""
    return "\n\n".join(part for block in blocks if (part := _markdown(block, language))) + "\n"


def _markdown(block: Block, language: Language) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_in(text, language)}"
        case Paragraph(text):
            return _in(text, language)
        case Items(items):
            return "\n".join(f"- {_in(item, language)}" for item in items)
        case Table(head, rows, numbers):
            marks = ["---:" if place in numbers else "---" for place in range(len(head))]
            lines = [[_cell(_in(cell, language)) for cell in row] for row in rows]
            titles = [_in(cell, language) for cell in head]
            return "\n".join(f"| {' | '.join(row)} |" for row in [titles, marks, *lines])
        case Plot():
            return ""


def _in(text: Text, language: Language) -> str:
    return getattr(text, language) if isinstance(text, Said) else text


def _cell(text: str) -> str:
    """Keep what a text holds from being read as Markdown."""
    return re.sub(r"([\\`*_<>\[\]#])", r"\\\1", text).translate(_CELL)

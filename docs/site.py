"""What MkDocs does not do by itself: files beside docs/ that pages link to, and formulas without a script.

On GitHub the same pages show both by themselves.
"""

import html
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Where such files lie in the site.
PROJECT = "project"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Brings along what a page links to outside of docs/, and leads the link there.

    Args:
        markdown: The page's text.
        page: The page.
        config: The site's settings.
        files: What the site is made of; what is brought along is added.

    Returns:
        The text with links that stay within the site.
    """
    beside = posixpath.dirname(page.file.src_uri)

    def brought(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", beside, match[1]))
        if path.startswith("docs/"):
            return match[0]
        uri = f"{PROJECT}/{path}"
        if path.endswith(".md"):
            uri = f"{uri.removesuffix('.md')}.txt"  # as it is: its own links lead elsewhere
        if uri not in files.src_uris:
            files.append(File.generated(config, uri, content=(ROOT / path).read_bytes()))
        return f"]({posixpath.relpath(uri, beside or '.')}"

    return re.sub(r"\]\((\.\./[^)#\s]+)", brought, markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    r"""Puts MathML, which browsers draw by themselves, in the place of \(formulas\) and \[displays\].

    Args:
        content: The page's HTML.
        page: The page.
        config: The site's settings.
        files: What the site is made of.

    Returns:
        The HTML with its formulas.
    """

    def formula(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(html.unescape(match[2]), display=display)

    return re.sub(
        r'<(div|span) class="arithmatex">\\[\[(](.*?)\\[\])]</\1>', formula, content, flags=re.DOTALL
    )

"""MkDocs calls this: it adds the pages that are generated and fills in the marked places.

A page is written by hand in ``docs/``, or taken from elsewhere in the repository (README, changes,
measurements), or generated (API, recipes). A line ``<!-- generate: NAME -->`` in a page written by
hand is replaced by the text of that name.
"""

import re

import api_pages
import deviations
import navigation
import recipe_keys
import recipe_pages
import repository_pages
import rooms
import verb_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

MARK = re.compile(r"^<!-- generate: ([\w-]+) -->$", re.MULTILINE)

FILLINGS = {
    "rooms": rooms.table,
    "deviations": deviations.table,
    "scale-deviations": deviations.scale_table,
    "verbs": verb_pages.overview,
    "recipes": recipe_pages.overview,
    "recipe-keys": recipe_keys.tables,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that no file in ``docs/`` holds, and sets the navigation."""
    written = {file.src_uri for file in files}
    generated = {
        **repository_pages.pages(),
        **api_pages.pages(),
        **recipe_pages.pages(),
        **verb_pages.pages_without_text(written),
    }
    for place, content in generated.items():
        files.append(File.generated(config, place, content=content))
    for place, path in repository_pages.attachments().items():
        files.append(File.generated(config, place, abs_src_path=str(path)))
    config.nav = navigation.build([file.src_uri for file in files.documentation_pages()])
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in a page's marked places and turns its links into links inside the site."""
    place = page.file.src_uri
    if place.startswith("verbs/") and place != "verbs/index.md":
        markdown = f"{markdown}\n\n{verb_pages.options(place)}"
    markdown = MARK.sub(lambda mark: FILLINGS[mark[1]](), markdown)
    return repository_pages.rewrite_links(markdown, place)

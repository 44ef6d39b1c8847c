"""The report that a browser shows without a network: a page per executed notebook, and an index with the scoreboard.

`python -m segrepro.report` writes the scoreboard of the committed records, and their figure, into README.md.
"""

import base64
import html
import importlib.util
import io
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd
from jinja2 import DictLoader
from nbconvert import HTMLExporter
from PIL import Image

from segrepro import claims, plots
from segrepro.errors import InputError, explained
from segrepro.experiment import Experiment
from segrepro.files import ROOT, write_atomically
from segrepro.verdict import NOT_JUDGED

README = ROOT / "README.md"
START, END = "<!-- scoreboard -->", "<!-- /scoreboard -->"
THUMBNAIL_WIDTH = 640  # pixels; shown at half of it or less, so that it is sharp on dense screens

# nbconvert's page without what it would fetch: MathJax lies beside the page, and nothing needs require.js or Mermaid.
PAGE = r"""
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax %}
<script type="text/x-mathjax-config">
MathJax.Hub.Config({
  tex2jax: {inlineMath: [["$", "$"]], processEscapes: true},
  "HTML-CSS": {availableFonts: [], webFont: "STIX-Web", imageFont: null, linebreaks: {automatic: true}},
  messageStyle: "none", showMathMenu: false
});
</script>
<script src="mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full"></script>
{%- endblock -%}
{%- block notebook_css -%}
{{ super() }}
<style>
main { max-width: 62rem; margin: 0 auto; padding: 0 0.5rem; }
.jp-OutputArea-output, .jp-RenderedMarkdown { overflow-x: auto; }
.jp-OutputArea-output img { max-width: 100%; height: auto; }
@media (max-width: 40rem) { .jp-InputPrompt, .jp-OutputPrompt { display: none; } body.jp-Notebook { padding: 0; } }
</style>
{%- endblock -%}
{%- block body_header -%}
{{ super() }}
<p class="jp-RenderedHTMLCommon"><a href="index.html">All notebooks</a></p>
{%- endblock -%}
"""

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>segrepro: report</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1c1e21; max-width: 80rem; margin: 0 auto; padding: 1rem; }}
h1, h2 {{ line-height: 1.2; }}
a {{ color: #0b57a4; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.875rem; }}
th, td {{ text-align: left; vertical-align: top; padding: 0.35rem 0.6rem 0.35rem 0; }}
tr {{ border-bottom: 1px solid #d5d9de; }}
td:nth-child(1), td:nth-child(7) {{ white-space: nowrap; }}
td:nth-child(3), td:nth-child(9) {{ min-width: 13rem; }}
.cards {{ display: grid; gap: 1rem; padding: 0; }}
.cards {{ grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); }}
.cards li {{ list-style: none; border: 1px solid #d5d9de; border-radius: 6px; overflow: hidden; }}
.cards img {{ width: 100%; height: 12rem; object-fit: contain; border-bottom: 1px solid #d5d9de; }}
.cards div {{ padding: 0.75rem; }}
.cards p {{ margin: 0.25rem 0 0; overflow-wrap: anywhere; }}
.failed {{ color: #a1260d; }}
</style>
</head>
<body>
<h1>segrepro</h1>
<p>Five papers on biased and long-tailed semantic segmentation, replicated. The scoreboard rests on the committed
records; the <a href="#notebooks">notebooks</a> below it were run here, with small budgets.</p>
<h2>Scoreboard</h2>
<div class="wide">{scoreboard}</div>
<h2 id="notebooks">Notebooks</h2>
<ul class="cards">
{cards}
</ul>
</body>
</html>
"""


@dataclass
class Page:
    """One notebook of a report: `seconds` is None until it ran, `error` tells what ended it early."""

    name: str
    title: str
    seconds: float | None = None
    error: str | None = None

    @classmethod
    def of(cls, notebook: Path) -> "Page":
        """The page of a notebook file, entitled by its first heading."""
        cells = nbformat.read(notebook, as_version=4).cells
        headings = (re.match(r"#\s+(.+)", cell.source) for cell in cells if cell.cell_type == "markdown")
        return cls(notebook.stem, next((heading[1].strip() for heading in headings if heading), notebook.stem))


def write_mathjax(folder: Path) -> None:
    """Put MathJax into `folder/mathjax`."""
    package = importlib.util.find_spec("jupyter_server_mathjax")
    if package is None:
        raise InputError("the package jupyter-server-mathjax is missing: pip install jupyter-server-mathjax")
    shutil.copytree(Path(package.origin).parent / "static", folder / "mathjax", dirs_exist_ok=True)


def write_page(page: Page, folder: Path) -> None:
    """Convert `folder/<name>.ipynb` to a page, and its first figure to a small picture for the index."""
    notebook = nbformat.read(folder / f"{page.name}.ipynb", as_version=4)
    notebook.metadata["title"] = page.title
    exporter = HTMLExporter(extra_loaders=[DictLoader({"page.html.j2": PAGE})], template_file="page.html.j2")
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": page.name}})
    body = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', body)  # links between notebooks: between pages
    write_atomically(folder / f"{page.name}.html", body)
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    figure = next((output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})), None)
    if figure is not None:
        with Image.open(io.BytesIO(base64.b64decode(figure))) as image, io.BytesIO() as stream:
            image.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH))
            image.save(stream, format="png", optimize=True)
            write_atomically(folder / "thumbnails" / f"{page.name}.png", stream.getvalue())


def _card(page: Page, folder: Path) -> str:
    title = html.escape(page.title)
    if page.seconds is None:
        return f"<li><div>{title}<p>not run yet</p></div></li>"
    picture = f"thumbnails/{page.name}.png"
    image = f'<img src="{picture}" alt="First figure of {title}">' if (folder / picture).exists() else ""
    state = f"{page.seconds:.0f} s"
    if page.error:
        state = f'<span class="failed">Failed after {state}: {html.escape(page.error)}</span>'
    link = f'<a href="{page.name}.html">'
    return f"<li>{link}{image}</a><div>{link}{title}</a><p>{state}</p></div></li>"


def write_index(pages: list[Page], table: pd.DataFrame, folder: Path) -> None:
    """Write `folder/index.html`: the scoreboard `table`, then a card for each notebook."""
    cards = "\n".join(_card(page, folder) for page in pages)
    why = table["decided by"].where(table["reason"] == "", table["reason"])
    table = table.drop(columns="reason").assign(**{"decided by": why})
    table = table.rename(columns={"decided by": "decided by, or why it is not judged"})
    write_atomically(folder / "index.html", INDEX.format(scoreboard=table.to_html(index=False, border=0), cards=cards))


def scoreboard() -> pd.DataFrame:
    """The verdict on every claim from the committed records, all text: one row a claim and data set."""
    table = claims.verdicts()
    return table[["id", "verdict", "statement", "data", "claimed", "effect", "interval", "n", "paper effect",
                  "decided by", "reason"]]  # fmt: skip


def scoreboard_markdown() -> str:
    """The scoreboard as README.md shows it: for each paper the number of verdicts of each kind and of claims that wait
    for one, and, folded in, every verdict.
    """
    board = scoreboard().drop(columns="reason")
    table = board[board["verdict"] != NOT_JUDGED]
    waiting = board[~board["id"].isin(table["id"])].drop_duplicates("id")
    papers = board["id"].str.partition("-")[0].rename("paper")
    counts = claims.count(pd.concat([table, waiting]), papers).loc[papers.unique()]
    counts = counts.rename(columns={NOT_JUDGED: "claims not judged yet"})
    return "\n".join([
        *_markdown(counts.reset_index().astype(str)), "",
        f"<details><summary>All {len(table)} verdicts, with effects and intervals</summary>", "",
        *_markdown(table), "",
        "</details>", "",
        "[15_scoreboard](notebooks/15_scoreboard.ipynb) says why a claim is not judged, and how each was read.",
    ])  # fmt: skip


def _markdown(table: pd.DataFrame) -> list[str]:
    """The lines of a table of text."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]


def readme_with_scoreboard() -> str:
    """The text of README.md with the scoreboard of the committed records between its two markers."""
    before, _, rest = README.read_text().partition(START)
    _, marker, after = rest.partition(END)
    if not marker:
        raise InputError(f"{README}: the markers {START} and {END} are missing. Put them where the scoreboard belongs.")
    return f"{before}{START}\n{scoreboard_markdown()}\n{END}{after}"


def write_figure(path: Path = ROOT / "docs" / "figure.png") -> None:
    """The figure of README.md: scenes, their labels, and what recorded networks make of them."""
    plots.style()
    experiment = Experiment({})
    shown = {name: found[0] for name, found in experiment.needed_runs("plain", "dropclass").items()}
    with io.BytesIO() as stream:
        plots.segmentation_examples(experiment.examples(shown), experiment.dataset.classes).savefig(stream, dpi=80)
        write_atomically(path, stream.getvalue())


if __name__ == "__main__":
    with explained():
        write_atomically(README, readme_with_scoreboard())
        write_figure()

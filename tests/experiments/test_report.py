import re
from html.parser import HTMLParser

import numpy as np
import pytest

from experiments.report import write_report
from jaxcv.genotype import published, published_recurrent
from jaxcv.models.macro import Macro
from search import create_discrete

PRIMITIVES = {"normal": ("none", "skip_connect", "sep_conv_3x3")}
SEARCH = [
    {
        "epoch": epoch,
        "loss": 2.0 / epoch,
        "accuracy": 0.25 * epoch,
        "valid_loss": 2.5 / epoch,
        "valid_accuracy": 0.21 * epoch,
        "seconds": 40.0,
        "mix": {"normal": np.full((5, 3), 1 / 3).tolist()},
    }
    for epoch in (1, 2, 3)
]
TRAINING = [{"epoch": 1, "loss": 1.5, "accuracy": 0.5, "test_loss": 1.6, "test_accuracy": 0.4321}]
RESULTS = [
    {"name": "discovered", "test_accuracy": 0.9724, "parameters": 3349342, "seconds": 5025.0},
    {"name": "random <1>", "test_accuracy": 0.9651, "parameters": 52000, "seconds": 12.34},
    {"name": "failed", "test_accuracy": None},
]


class Page(HTMLParser):
    """The tags, identifiers and text of a page; fails where tags do not close."""

    VOID = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def report(folder, **parts):
    given = {"title": "A run", "config": {}, "rows": []} | parts
    text = write_report(folder, **given).read_text(encoding="utf-8")
    return text, Page(text)


def headings(text):
    return re.findall(r"<h2>(.*?)</h2>", text)


def headline(text):
    return re.search(r'<p class="headline">(.*?)</p>', text)[1]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    text, page = report(
        folder,
        title="Search <script>alert(0)</script>",
        config={"epochs": 3, "optimizer": {"rate": 0.025, "name": "<script>alert(1)</script>"}},
        rows=SEARCH,
        genotype=published["DARTS_V2"],
        primitives=PRIMITIVES,
        results=RESULTS,
        notes="One <b>thing</b>.\n\nAnother.",
    )
    return folder, text, page


def test_page_is_sound_and_needs_nothing_else(everything):
    folder, text, page = everything
    assert page.tags.count("svg") == 4
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r'(src|href)="(?!#)', text)
    assert "@import" not in text
    for target in re.findall(r'(?:href="|url\()#([^")]+)', text):
        assert target in page.ids
    for name in ("cell_normal", "cell_reduce", "curves", "weights_normal"):
        assert (folder / f"{name}.svg").exists() and (folder / f"{name}.png").exists()


def test_what_comes_from_outside_is_escaped(everything):
    _, _, page = everything
    assert "script" not in page.tags and "b" not in page.tags
    for words in ("Search <script>alert(0)</script>", "<script>alert(1)</script>", "random <1>"):
        assert words in page.text
    assert "One <b>thing</b>." in page.text


def test_results_and_configuration_are_in_the_page(everything):
    _, text, page = everything
    assert headline(text) == "97.24 % test accuracy"
    assert "discovered · 3.35 M parameters · mean of the 1 other 96.51 %" in page.text
    table = re.search(r'<table class="results">.*?</table>', text, re.DOTALL)[0]
    body = re.findall(r"<tr.*?</tr>", table)
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in body]
    assert cells == [
        ["network", "test accuracy", "parameters", "time"],
        ["discovered", "97.24 %", "3.35 M", "1 h 23 min"],
        ["random &lt;1&gt;", "96.51 %", "52,000", "12.3 s"],
        ["failed", "–", "–", "–"],
    ]
    assert [row.startswith('<tr class="best">') for row in body] == [False, True, False, False]
    assert "<th>optimizer.rate</th><td>0.025</td>" in text
    assert '["sep_conv_3x3", 0]' in page.text
    assert headings(text) == [
        "Results",
        "Cells",
        "Curves",
        "Mixing weights",
        "Configuration",
        "Environment",
    ]


def test_search_alone(tmp_path):
    text, page = report(tmp_path, config={"epochs": 3}, rows=SEARCH, primitives=PRIMITIVES)
    assert headline(text) == "63.00 % validation accuracy of the search network"
    assert "3 epochs · 2 min 00 s" in page.text
    assert headings(text) == ["Curves", "Mixing weights", "Configuration", "Environment"]


def test_training_that_goes_on(tmp_path):
    text, page = report(tmp_path, config={"epochs": 600}, rows=TRAINING, finished=False)
    assert headline(text) == "43.21 % test accuracy"
    assert "still running · 1 of 600 epochs" in page.text
    assert headings(text) == ["Curves", "Configuration", "Environment"]


def test_before_the_first_epoch(tmp_path):
    text, page = report(tmp_path, finished=False)
    assert headline(text) == "No epoch has finished yet"
    assert "svg" not in page.tags and headings(text) == ["Environment"]


def test_perplexity_is_better_the_smaller(tmp_path):
    results = [
        {"name": "discovered", "test_perplexity": 57.6, "parameters": 22_960_000},
        {"name": "random 1", "test_perplexity": 61.8, "parameters": 22_960_000},
    ]
    rows = [{"epoch": 1, "loss": 5.0, "perplexity": 148.4, "mix": {"recurrent": [[0.5] * 3]}}]
    primitives = {"recurrent": PRIMITIVES["normal"]}
    given = {"rows": rows, "primitives": primitives, "measure": "perplexity"}
    text, page = report(
        tmp_path, genotype=published_recurrent["DARTS_V1"], results=results, **given
    )
    assert headline(text) == "57.60 test perplexity"
    assert "mean of the 1 other 61.80" in page.text
    rows = re.findall(r'<tr class="best"><th>(.*?)</th>', text)
    assert rows == ["discovered"]
    assert (tmp_path / "cell_recurrent.svg").exists()

    text, _ = report(tmp_path, **given)
    assert headline(text) == "148.40 training perplexity"


def test_a_watched_search_has_its_verdict_in_words(tmp_path):
    rows = [row | {"entropy": 1.0, "skip_connections": 5} for row in SEARCH]
    text, page = report(tmp_path, rows=rows, primitives=PRIMITIVES)
    assert headings(text)[:2] == ["Curves", "Signs of a collapse"]
    assert "Collapsed: 5 skip connections in the normal cell." in page.text


def test_architectures_of_other_kinds_are_drawn_or_written_out(tmp_path):
    single = create_discrete("nasbench201").decode((0, 1, 2, 3, 4, 1))
    text, page = report(tmp_path, genotype=single)
    assert headings(text)[0] == "Cells" and (tmp_path / "cell_single.svg").exists()
    assert "$c_{k-2}$" not in text and '"single"' in page.text
    macro = Macro(("nor_conv_3x3",) * 3, ((), (0,), ()))
    text, page = report(tmp_path, genotype=macro)
    assert headings(text)[0] == "Architecture" and '["nor_conv_3x3", 0]' in page.text

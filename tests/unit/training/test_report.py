import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from xception.data.preprocessing import Preprocessing
from xception.data.sources import ArraySource
from xception.errors import InputError
from xception.inference import Evaluation, store_evaluation
from xception.inference.examples import choose_examples
from xception.training.report import write_report
from xception.training.report_classes import most_confused

HOSTILE = "<script>alert(\"1\")</script> & 'co'"
VOID = {"meta", "img", "br", "link", "path", "use", "rect"}


class Page(HTMLParser):
    """The page's visible text, its elements, and whether every element is closed in order."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def evaluation(class_names, labels, predictions, probabilities, skipped=()):
    labels, predictions = np.array(labels), np.array(predictions)
    probabilities = np.array(probabilities, np.float32)
    right = labels == predictions
    return Evaluation(
        class_names=class_names,
        indices=np.arange(len(labels)),
        labels=labels,
        predictions=predictions,
        probabilities=probabilities,
        ranks=np.where(right, 0, 1),
        losses=-np.log(np.where(right, probabilities, 1 - probabilities).astype(np.float64)),
        skipped=list(skipped),
    )


def source_of(found, side=40):
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (found.num_images, 3, side, side), generator=generator)
    return ArraySource(images.to(torch.uint8), found.labels, found.class_names, name=HOSTILE)


@pytest.fixture
def run(tmp_path):
    """A run with five images of three classes, one of whose names is hostile."""
    found = evaluation(
        ["cat", HOSTILE, "dog"],
        [0, 1, 1, 2, 2],
        [0, 1, 2, 0, 2],
        [0.91, 0.82, 0.55, 0.97, 0.64],
        skipped=[(5, f"{HOSTILE}.jpg: the file is truncated")],
    )
    store_evaluation(tmp_path / "evaluation.npz", found, source_of(found), Preprocessing(size=32))
    (tmp_path / "recipe.yaml").write_text(
        "model: {name: xception, width: 0.125}\ndata: {name: folder, root: <root>}\n"
        f"# {HOSTILE}\n"
    )
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,samples,learning_rate,train_loss,validation_loss,validation_top1,"
        "validation_top5,images_per_second,elapsed_seconds\n"
        "0,1,8,0.1,2.0,,,,100.0,1.0\n0,2,16,0.05,1.0,,,,100.0,2.0\n"
        "0,2,16,0.05,,1.5,0.25,0.75,,2.5\n1,4,32,0.01,,nan,0.6,1.0,,4.5\n"
    )
    (tmp_path / "summary.json").write_text(
        json.dumps(
            {
                "recipe": HOSTILE,
                "parameters": 123456,
                "training": {
                    "seconds": 75.25,
                    "images_per_second": 321.5,
                    "unreadable": [f"train/{HOSTILE}.png: the file is empty (0 bytes)"],
                },
                "evaluation_with_blacklisted": None,
                "peak_memory_bytes": {"host": 1234567890},
                "versions": {"torch": "2.99.1", "xception": "9.8.7"},
                "hardware": {"processor": HOSTILE, "gpus": []},
                HOSTILE: HOSTILE,
            }
        )
    )
    return tmp_path


@pytest.fixture
def page(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_report_shows_the_figures(page):
    assert "top-1 accuracy 60.0 % 3 of 5" in page.text
    assert "top-3 accuracy 100 %" in page.text  # three classes: k is 3
    assert "training time 1 min 15 s" in page.text
    assert "parameters 123,456" in page.text
    assert "host 1.23 GB" in page.text
    assert "torch 2.99.1" in page.text
    assert "Written by xception 9.8.7" in page.text


def test_report_escapes_everything(run, page):
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    # title, heading, lead, pictures (captions, file names), matrix, tables, facts, lists, recipe
    assert page.text.count(HOSTILE) > 10
    assert not any(name.startswith("on") for _, given in page.elements for name in given)


def test_report_needs_no_network(page):
    for tag, given in page.elements:
        assert tag not in {"script", "link", "iframe", "object"}
        for name, value in given.items():
            if name in {"src", "href", "xlink:href"}:
                assert value.startswith(("data:image/", "#")), (tag, name, value)
        assert "url(http" not in given.get("style", "")
    policies = [
        given["content"] for tag, given in page.elements if tag == "meta" and "content" in given
    ]
    assert any("default-src 'none'" in policy for policy in policies)


def test_report_shows_the_most_confident_mistakes_first_then_right_ones(page):
    text = page.text
    wrong = text.index("Wrong, the most confident first")
    right = text.index("Right", wrong)
    assert wrong < text.index("✗ cat 97 %") < text.index("✗ dog 55 %") < right
    assert "is dog 3 %" in text[wrong:right]
    assert right < text.index("✓ cat 91 %")
    assert sum(tag == "img" for tag, _ in page.elements) == 5


def test_report_shows_the_confusion_matrix(run):
    html = (write_report(run)).read_text(encoding="utf-8")
    table = html[html.index('<table class="confusion">') :]
    table = table[: table.index("</table>")]
    cells = [int(cell) for cell in re.findall(r"<td[^>]*>(\d+)</td>", table)]
    assert cells == [1, 0, 0, 0, 1, 1, 1, 0, 1]


def test_report_draws_labelled_curves(page):
    assert sum(tag == "svg" for tag, _ in page.elements) == 3
    for words in ("optimizer step", "nats", "training", "validation", "top-1", "top-3", "60.0%"):
        assert words in page.text, words
    assert "Learning rate" in page.text


def test_report_has_no_repeated_ids(page):
    ids = [given["id"] for _, given in page.elements if "id" in given]
    assert len(ids) == len(set(ids))
    targets = [v[1:] for _, given in page.elements for k, v in given.items()
               if k in {"href", "xlink:href"} and v.startswith("#")]  # fmt: skip
    assert set(targets) <= set(ids)


def test_report_lists_unreadable_images_and_the_recipe(page):
    assert f"Held-out images, in no figure: 1 {HOSTILE}.jpg: the file is truncated" in page.text
    assert f"Training images, passed over: 1 train/{HOSTILE}.png" in page.text
    assert "model: {name: xception, width: 0.125}" in page.text


@pytest.mark.parametrize(
    "missing", ["evaluation.npz", "metrics.csv", "summary.json", "recipe.yaml"]
)
def test_report_leaves_out_what_is_missing(run, missing):
    (run / missing).unlink()
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert page.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation.npz", b"PK damaged"),
        ("summary.json", b"{"),
        ("metrics.csv", b"step,train_loss\n1,abc\n"),
        ("recipe.yaml", b"a: [1"),
    ],
)
def test_report_names_a_damaged_file_and_keeps_the_old_page(run, name, content):
    before = write_report(run).read_bytes()
    (run / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{run}"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before


def test_report_of_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no run directory"):
        write_report(tmp_path / "nothing")


def test_report_of_a_thousand_classes_shows_pairs_and_stays_small(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 5)
    predictions = np.where(generator.random(5000) < 0.7, labels, (labels + 1) % 1000)
    predictions[:5] = 17  # the commonest mistake: class 0 is always taken for class 17
    found = evaluation([f"n{i:04d}" for i in range(1000)], labels, predictions, np.full(5000, 0.7))
    store_evaluation(tmp_path / "evaluation.npz", found, source_of(found, 8), Preprocessing(size=8))
    html = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert 'class="confusion"' not in html
    assert "images of the class n0000 n0017 5 100 %" in page.text
    assert "the other 980" in page.text
    assert all(f"n{i:04d}" in page.text for i in range(1000))
    assert len(html) < 1_000_000


def test_report_gives_both_figures_where_images_are_blacklisted(run):
    arrays = dict(np.load(run / "evaluation.npz"))
    arrays["blacklisted"] = np.array([False, False, True, True, False])
    np.savez(run / "evaluation.npz", **arrays)
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert "top-1 accuracy 100 % 3 of 3" in text
    assert "top-1 on all 5 60.0 % with 2 blacklisted" in text


def test_most_confused_counts_as_a_scalar_loop(run):
    generator = np.random.default_rng(1)
    labels, predictions = generator.integers(0, 4, (2, 200))
    found = evaluation(list("abcd"), labels, predictions, np.full(200, 0.5))
    counts: dict[tuple[int, int], int] = {}
    for true, taken in zip(labels.tolist(), predictions.tolist(), strict=True):
        if true != taken:
            counts[true, taken] = counts.get((true, taken), 0) + 1
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    assert most_confused(found, 5) == [(*pair, count) for pair, count in expected]


def test_choose_examples_takes_confident_mistakes_and_right_ones_of_all_classes():
    labels = np.repeat(np.arange(4), 10)
    predictions = labels.copy()
    predictions[[5, 15, 25]] = [3, 3, 3]
    probabilities = np.full(40, 0.5)
    probabilities[[5, 15, 25]] = [0.4, 0.9, 0.6]
    rows = choose_examples(evaluation(list("abcd"), labels, predictions, probabilities), wrong=2)
    assert rows[:2].tolist() == [15, 25]
    assert set(labels[rows[2:]]) == {0, 1, 2, 3}
    assert (labels[rows[2:]] == predictions[rows[2:]]).all()
    assert len(set(rows.tolist())) == len(rows) == 18


def test_report_shows_the_best_and_the_worst_classes_of_a_map_run(tmp_path):
    """45 classes: the first has no image, the others' precision grows with their number."""
    names = [f"class {number}" for number in range(44)] + [HOSTILE]
    lines = [
        "class_id,name,weight,positives,predictions,hits,average_precision",
        "0,class 0,1.0,0,3,0,",
    ]
    lines += [f"{i},{names[i]},2.5,7,{i},3,{i / 44}" for i in range(1, 44)]
    quoted = HOSTILE.replace('"', '""')
    lines.append(f'44,"{quoted}",2.5,7,44,3,1.0')
    (tmp_path / "recipe.yaml").write_text("model: {name: xception}")
    (tmp_path / "classes.csv").write_text("\n".join(lines) + "\n")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "45 classes, 1 of them in no held-out image." in page.text
    best, worst = page.text.split("The best")[1].split("The worst")
    assert f"{HOSTILE} 1.0000 2.5 7 44 3 class 43 0.9773 2.5 7 43 3" in best
    assert "class 25 0.5682" in best  # the twentieth
    assert "class 24 " not in best
    assert "hits class 1 0.0227 2.5 7 1 3 class 2 0.0455" in worst
    assert "class 20 0.4545" in worst
    assert "class 21 " not in worst
    (tmp_path / "classes.csv").write_text("class,precision\n")
    with pytest.raises(InputError, match="is not a table of classes"):
        write_report(tmp_path)

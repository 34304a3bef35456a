"""The example of docs/metrics.md runs and says what it says."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_example_of_the_document_runs(capsys):
    code = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S).group(1)
    names = {}
    exec(code, names)
    assert str(names["metric"].compute()) == "tensor(0.6250)"
    assert "0.6250 (per image, class weights as given)" in capsys.readouterr().out

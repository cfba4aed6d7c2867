"""`make refresh`: the same bytes every time, and nothing stored of a run that failed."""

import json

import nbformat
import pytest

from rlbook.site import notebooks, refresh

FIGURE = """\
import matplotlib.pyplot as plt
plt.plot([1, 3, 2])
plt.show()"""


@pytest.fixture
def store(tmp_path):
    """Write the notebook of the given cells as an editor might leave it: no ids, odd metadata, old counts."""

    def write(*sources):
        stale = {"execution_count": 7, "metadata": {"scrolled": True}}
        cells = [nbformat.v4.new_code_cell(source, **stale) for source in sources]
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "mine", "display_name": "x"}})
        notebook.nbformat_minor = 4
        notebook.cells = [nbformat.v4.new_markdown_cell("# ε, π and ∇"), *cells]
        for cell in notebook.cells:
            del cell["id"]
        path = tmp_path / "chapter.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return path

    return write


def test_twice_changes_no_byte(store):
    path = store("import os\nprint(os.environ['RLBOOK_DEVICE'], os.listdir())", FIGURE, "1 / 3")
    assert refresh.main([str(path)]) == 0
    once = path.read_bytes()
    assert refresh.main([str(path)]) == 0
    assert path.read_bytes() == once
    assert refresh.main(["--check", str(path)]) == 0

    text = once.decode()
    assert text.endswith("}\n") and "ε, π and ∇" in text
    notebook = notebooks.read(path)
    assert notebook.metadata == notebooks.METADATA
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3]
    assert notebook.cells[1].outputs[0].text == "cpu ['chapter.ipynb']\n"
    assert "image/png" in notebook.cells[2].outputs[-1].data
    assert len({cell.id for cell in notebook.cells}) == 4
    assert all(cell.metadata == {} for cell in notebook.cells)


def test_check_sees_a_stale_output_and_stores_nothing(store, capsys):
    path = store("print(1)")
    before = path.read_bytes()
    assert refresh.main(["--check", str(path)]) == 1
    assert path.read_bytes() == before
    assert "would change" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["1 / 0", "import sys\nprint('careful', file=sys.stderr)"])
def test_a_failed_run_stores_nothing_and_names_the_cell(store, capsys, source):
    path = store("print(1)", source)
    before = path.read_bytes()
    assert refresh.main([str(path)]) == 1
    assert path.read_bytes() == before
    assert "chapter.ipynb: code cell 2" in capsys.readouterr().err


def test_ids_are_kept_and_repeated_ones_replaced():
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell(text, id="kept") for text in "ab"]
    notebooks.normalise(notebook)
    first, second = (cell.id for cell in notebook.cells)
    assert first == "kept" != second
    assert notebooks.dumps(notebooks.normalise(notebook)) == notebooks.dumps(notebook)

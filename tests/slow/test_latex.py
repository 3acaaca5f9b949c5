"""The tables for a paper compile."""

import shutil
import subprocess
from pathlib import Path

import pytest
from fabricated import MANY, tables_of, write_run

PAPER = r"""
\documentclass{article}
\usepackage{booktabs,graphicx}
\begin{document}
\input{table1.tex}
\end{document}
"""


def test_table_1_compiles(tmp_path: Path) -> None:
    """Also where the names of models, datasets and detectors have letters that LaTeX reserves."""
    latex = shutil.which("pdflatex")
    if latex is None:
        pytest.skip("no pdflatex: Debian has it in texlive-latex-recommended")
    odd = ("my_feature", "a_score", "online", 0.5, True)
    write_run(tmp_path / "runs", "100%_m&m#~^{x}", "[a]_$b\\c", layers=2, n=60, detectors=[*MANY, odd])
    write_run(tmp_path / "runs", "tiny-mistral", "nli", layers=2, n=60)
    out = tables_of([tmp_path / "runs"], tmp_path / "out")
    (out / "paper.tex").write_text(PAPER)
    done = subprocess.run(
        [latex, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"],
        cwd=out,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (out / "paper.pdf").read_bytes().startswith(b"%PDF")

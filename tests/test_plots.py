"""The scripts in the page of `dvc plots`; `test_pipeline` opens the page itself."""

import hashlib
import re

from dvc_render.vega import VegaRenderer

from tests.clone import ROOT

FOLDER = ROOT / ".dvc" / "plots"
PAGE = (FOLDER / "page.html").read_text(encoding="utf-8")
SCRIPTS = re.findall(r'<script data-package="(.+?)" data-sha256="(\w+)">\n(.+?)</script>', PAGE, re.DOTALL)


def majors(names: list[str]) -> list[str]:
    """Shorten names such as vega-lite@5.23.0 to vega-lite@5."""
    return [name.partition(".")[0] for name in names]


def test_the_scripts_are_the_published_ones() -> None:
    for package, checksum, script in SCRIPTS:
        assert hashlib.sha256(script.encode()).hexdigest() == checksum, package


def test_the_scripts_are_of_the_major_versions_for_which_dvc_writes_plots() -> None:
    loaded_by_dvc = re.findall(r"/npm/([^\"]+)", VegaRenderer.SCRIPTS)
    assert len(loaded_by_dvc) == 3
    assert majors([package for package, _, _ in SCRIPTS]) == majors(loaded_by_dvc)


def test_each_script_has_its_licence() -> None:
    licences = (FOLDER / "LICENCES.txt").read_text(encoding="utf-8")
    for package, _, _ in SCRIPTS:
        name, _, _ = package.partition("@")
        assert re.search(f"^{name}(,|$)", licences, re.MULTILINE), name  # in a heading


def test_the_page_loads_nothing() -> None:
    markup = re.sub(r"<script.*?</script>", "", PAGE, flags=re.DOTALL)
    assert "{scripts}" not in PAGE  # DVC replaces it by scripts on a public server
    assert re.findall(r'(?:src|href)="(.+?)"', markup) == ["data:,"]
    assert not re.search(r"@import|url\(|https?:", markup)

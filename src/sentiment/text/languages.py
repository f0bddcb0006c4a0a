"""The languages that spaCy knows, found without importing spaCy, which takes seconds."""

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from sentiment.errors import abbreviated

ENGLISH = "en"
# Packages that the tokenizers of these languages need in addition to spaCy, as pip names them.
PACKAGES = {
    "ja": ("sudachipy", "sudachidict_core"),
    "ko": ("natto-py",),  # and mecab-ko, which pip does not install
    "th": ("pythainlp",),
    "vi": ("pyvi",),
}


def check_language(language: str) -> None:
    """Raise ValueError if spaCy does not know a language, or if packages that its tokenizer needs are missing."""
    if language not in _known_languages():
        raise ValueError(
            f"must be a language that spaCy knows, such as en, de, es, fr, zh; got {abbreviated(language)}"
        )
    packages = PACKAGES.get(language, ())
    if not all(map(_is_installed, packages)):
        raise ValueError(f"{language!r} needs packages that are not installed; run pip install {' '.join(packages)}")


def _known_languages() -> set[str]:
    spacy = find_spec("spacy")
    folders = spacy.submodule_search_locations if spacy else None
    return {path.parent.name for folder in folders or () for path in Path(folder).glob("lang/*/__init__.py")}


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True

"""The stage `prepare`: text of another language becomes tensors as the scorer of the model would encode it."""

from contextlib import chdir
from pathlib import Path

import pyarrow as pa
import pytest

from sentiment.corpora.reviews import write_corpus
from sentiment.dataset.encoded import load_encoded
from sentiment.dataset.vocabulary import load_vocabulary
from sentiment.models.checkpoint import save_checkpoint
from sentiment.scoring.scorer import Scorer
from stages.params import Params, read_params
from stages.paths import CORPUS, ENCODED, VOCABULARY
from stages.prepare import prepare
from tests.clone import ROOT
from tests.conftest import review, small_model

PARAMS = read_params(ROOT / "params.yaml")
WORDS = {  # of little praise and little blame
    "de": ("Ein guter Film, z.B. heute.", "Schlecht und übel, d.h. langweilig."),
    "es": ("Lo mejor de EE. UU., de verdad.", "¡Qué aburrido!"),
    "ar": ("فيلم جميل، حقًا.", "فيلم ممل جدًا!"),
    "zh": ("很好看\uff0c喜欢。", "不好看\uff0c无聊。"),
}


def params_of(language: str) -> Params:
    return PARAMS.model_copy(update={"prepare": PARAMS.prepare.model_copy(update={"language": language})})


@pytest.mark.parametrize("language", WORDS)
def test_the_scorer_encodes_texts_of_a_language_as_prepare_did(tmp_path: Path, language: str) -> None:
    texts = [f"{WORDS[language][number % 2]} {number}" for number in range(40)]
    reviews = [
        review(id=str(number), label=1 - number % 2, split="test" if number < 10 else "train", text=text)
        for number, text in enumerate(texts)
    ]
    with chdir(tmp_path):
        write_corpus(CORPUS, reviews)
        prepare(params_of(language))
        vocabulary, rules = load_vocabulary(VOCABULARY)
        assert rules.language == language
        prepared = load_encoded(ENCODED["test"], len(vocabulary.itos))
        save_checkpoint(Path("model"), small_model(vocabulary_size=len(vocabulary.itos)), VOCABULARY)
        encoded = Scorer("model").encode(pa.array(texts[:10]))
    assert encoded.tokens.tolist() == prepared.tokens.tolist()
    assert encoded.offsets.tolist() == prepared.offsets.tolist()

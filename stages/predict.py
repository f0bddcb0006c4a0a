"""Score texts with the trained model; no stage of the pipeline, but what it is for.

python -m stages.predict "A film to forget." "I laughed, and then I cried."
"""

import sys

from sentiment.errors import InputError
from stages.paths import MODEL, VOCABULARY
from stages.run import one_line_errors


def predict(texts: list[str]) -> None:
    """Print, for each text, the probability that it is positive."""
    from sentiment.checkpoint import load_checkpoint
    from sentiment.device import choose_device
    from sentiment.predict import predict_logits
    from sentiment.ragged import to_tensors
    from sentiment.vocabulary import encode_texts, load_vocabulary

    if not texts:
        raise InputError('give one text or more: python -m stages.predict "I would never call it dull."')
    model = load_checkpoint(MODEL, VOCABULARY)
    vocabulary, rules = load_vocabulary(VOCABULARY)
    reviews = to_tensors(encode_texts(texts, vocabulary, rules))
    probabilities = predict_logits(model, reviews, choose_device()).sigmoid()
    for probability, text in zip(probabilities.tolist(), texts, strict=True):
        print(f"{probability:.4f}  {text}")


if __name__ == "__main__":
    with one_line_errors():
        predict(sys.argv[1:])

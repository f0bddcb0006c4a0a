import re
from collections import Counter

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sentiment.corpora.synthetic import generate_reviews

REVIEWS = list(generate_reviews(2000, seed=5))


def sentences(split: str) -> set[str]:
    texts = (re.sub(r"<br />", " ", review.text) for review in REVIEWS if review.split == split)
    return {sentence.strip() for text in texts for sentence in re.findall(r"[^.]+\.", text)}


def test_the_test_split_shares_no_sentence_with_the_others() -> None:
    assert len(sentences("test")) > 500
    assert not sentences("test") & (sentences("train") | sentences("unsup"))


def test_labels_are_balanced_in_each_split() -> None:
    counts = Counter((review.split, review.label) for review in REVIEWS)
    assert counts == {("train", 0): 650, ("train", 1): 650, ("test", 0): 250, ("test", 1): 250, ("unsup", None): 200}


def test_reviews_of_a_film_are_in_one_split() -> None:
    splits: dict[str | None, set[str]] = {}
    for review in REVIEWS:
        splits.setdefault(review.group, set()).add(review.split)
    assert all(len(of_film) == 1 for of_film in splits.values())


def test_the_reviews_depend_on_the_seed() -> None:
    assert list(generate_reviews(100, seed=5)) == list(generate_reviews(100, seed=5))
    assert list(generate_reviews(100, seed=5)) != list(generate_reviews(100, seed=6))


def test_a_bag_of_words_does_not_solve_the_sample() -> None:
    train = [review for review in REVIEWS if review.split == "train"]
    labels = np.array([review.label for review in train], dtype=np.int8)
    counts = TfidfVectorizer(ngram_range=(1, 2)).fit_transform([review.text for review in train])
    model = LogisticRegression(C=30.0, max_iter=1000).fit(counts[:900], labels[:900])
    assert np.mean(model.predict(counts[900:]) == labels[900:]) < 0.8

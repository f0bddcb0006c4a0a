"""A linear baseline: logistic regression on TF-IDF of unigrams and bigrams (scikit-learn)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression


def predict_baseline(
    texts: Sequence[str], labels: npt.NDArray[np.int8], new_texts: Sequence[str], inverse_penalty: float
) -> npt.NDArray[np.float64]:
    """Fit on N texts and labels, (N,) from 0 to K - 1, and return the probabilities of each new text's labels, (M, K).

    More than two labels are fitted together, by cross entropy. `inverse_penalty` is scikit-learn's C. scikit-learn also
    tokenizes and lower-cases the texts.
    """
    vectorizer = TfidfVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(C=inverse_penalty, max_iter=1000)
    model.fit(vectorizer.fit_transform(texts), labels)
    probabilities: npt.NDArray[np.float64] = model.predict_proba(vectorizer.transform(new_texts))
    return probabilities

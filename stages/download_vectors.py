"""Write word vectors in GloVe's text format, zipped or plain."""

from stages.params import Params
from stages.paths import DOWNLOADS, VECTORS
from stages.run import run


def download_vectors(params: Params) -> None:
    """Generate vectors for the embedded corpus, or download published vectors for any other corpus.

    Checks the first rows of a downloaded file, so that DVC caches no file that `prepare` cannot read.
    """
    from sentiment.corpora.synthetic import write_vectors
    from sentiment.download.fetch import fetch
    from sentiment.errors import renaming_errors
    from sentiment.storage.archives import Limits
    from sentiment.storage.outputs import link_or_copy
    from sentiment.text.glove import check_beginning

    if params.download.corpus == "sample":
        write_vectors(VECTORS)
        return
    vectors = params.download.vectors
    fetched = fetch(
        vectors.url, vectors.sha256, DOWNLOADS, params.download.max_bytes, parameter="download.vectors.sha256"
    )
    with renaming_errors(fetched, params.download.vectors_name):
        check_beginning(fetched, Limits(**params.download.limits.model_dump()))
    link_or_copy(fetched, VECTORS)


if __name__ == "__main__":
    run(download_vectors)

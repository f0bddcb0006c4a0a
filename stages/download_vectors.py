"""Download word vectors in a text format, if params.yaml asks for any."""

from stages.params import Params
from stages.paths import DOWNLOADS, VECTORS
from stages.run import run


def download_vectors(params: Params) -> None:
    """Download published vectors, or write a line that says so if `vectors.source` needs none.

    Checks the first rows of a downloaded file, so that DVC caches no file that `vectors` cannot read.
    """
    from sentiment.download.fetch import fetch
    from sentiment.errors import renaming_errors
    from sentiment.storage.archives import Limits
    from sentiment.storage.outputs import atomic_output, link_or_copy
    from sentiment.text.glove import check_beginning

    if params.vectors.source == "trained":
        with atomic_output(VECTORS) as partial:
            partial.write_text("vectors.source is trained: no vectors were downloaded\n", encoding="utf-8")
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

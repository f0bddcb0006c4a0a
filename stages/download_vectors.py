"""Put word vectors on disk in GloVe's text format, zipped or plain."""

from stages.params import Params
from stages.paths import DOWNLOADS, VECTORS
from stages.run import run


def download_vectors(params: Params) -> None:
    """Generate the vectors of the embedded corpus, or fetch the published ones for any other."""
    from sentiment.fetch import fetch
    from sentiment.files import place
    from sentiment.sample import write_vectors

    if params.download.corpus == "sample":
        write_vectors(VECTORS)
    else:
        vectors = params.download.vectors
        place(fetch(vectors.url, vectors.sha256, DOWNLOADS, params.download.most_bytes), VECTORS)


if __name__ == "__main__":
    run(download_vectors)

"""Write the selected corpus as one Parquet file."""

from pathlib import Path

from stages.params import Params
from stages.paths import CORPUS, DOWNLOADS
from stages.run import run


def download_corpus(params: Params) -> None:
    """Generate, download or read the reviews, and write them with the same columns for every source."""
    from sentiment.corpora.custom import Columns, read_own
    from sentiment.corpora.imdb import read_imdb
    from sentiment.corpora.reviews import write_corpus
    from sentiment.corpora.synthetic import generate_reviews
    from sentiment.download.fetch import fetch
    from sentiment.storage.archives import Limits

    match params.download.corpus:
        case "sample":
            sample = params.download.sample
            write_corpus(CORPUS, generate_reviews(sample.reviews, sample.seed))
        case "imdb":
            imdb = params.download.imdb
            limits = Limits(**params.download.limits.model_dump())
            archive = fetch(
                imdb.url, imdb.sha256, DOWNLOADS, params.download.most_bytes, parameter="download.imdb.sha256"
            )
            write_corpus(CORPUS, read_imdb(archive, limits))
        case "own":
            own = params.download.own
            columns = Columns(own.text_column, own.label_column, own.split_column, own.group_column)
            negative, positive = own.labels
            write_corpus(CORPUS, read_own(Path(own.path), columns, (negative, positive), own.test_share, own.seed))


if __name__ == "__main__":
    run(download_corpus)

"""Write the selected corpus as one Parquet file."""

from pathlib import Path

from stages.params import Download, Params
from stages.paths import CORPUS, DOWNLOADS, NAMED_DOWNLOADS
from stages.run import run


def download_corpus(params: Params) -> None:
    """Generate, download or read the reviews, and write them with the same columns for every source."""
    from sentiment.corpora.custom import Columns, Labels, Source, read_custom
    from sentiment.corpora.files import Dialect
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
                imdb.url, imdb.sha256, DOWNLOADS, params.download.max_bytes, parameter="download.imdb.sha256"
            )
            write_corpus(CORPUS, read_imdb(archive, limits))
        case "custom":
            custom = params.download.custom
            source = Source(
                custom.path if custom.url is None else str(fetch_custom(params.download)),
                Columns(custom.text_column, custom.label_column, custom.split_column, custom.group_column),
                Labels(custom.spellings, custom.label_names, leave_out=isinstance(custom.labels, dict)),
                Dialect(custom.delimiter, custom.encoding, custom.quotes, custom.header),
                custom.pattern,
                drop_unusable=custom.unusable == "drop",
            )
            write_corpus(CORPUS, read_custom(source, custom.test_share, custom.seed), custom.label_names)


def fetch_custom(download: Download) -> Path:
    """Fetch the user's file, and return its path under the name that it has at the URL, which says its kind."""
    from sentiment.download.fetch import fetch
    from sentiment.storage.outputs import link_or_copy

    custom = download.custom
    assert custom.url is not None
    assert custom.sha256 is not None
    named = NAMED_DOWNLOADS / custom.file_name
    fetched = fetch(custom.url, custom.sha256, DOWNLOADS, download.max_bytes, parameter="download.custom.sha256")
    link_or_copy(fetched, named)
    return named


if __name__ == "__main__":
    run(download_corpus)

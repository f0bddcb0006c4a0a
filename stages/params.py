"""Schema of `params.yaml`, which is validated as a whole before a stage does any work.

The schema has no defaults: every value is in `params.yaml`, where users look for the value and its explanation.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError

from sentiment.errors import InputError, abbreviated
from sentiment.text.languages import check_language

PARAMS = Path("params.yaml")
MAX_FILE_BYTES = 1 << 16  # five times this project's file; ruamel.yaml would take minutes for a file of data

# ruamel.yaml raises these, and not only its own errors, for a scalar that only looks like a number or date (-_,
# 2026-13-01), for a tag that does not fit its value (!!int many), and for a thousand nested brackets.
VALUE_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

Natural = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Share = Annotated[float, Field(ge=0, lt=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^(https?|file)://")]
Name = Annotated[str, Field(min_length=1)]


MAX_LABELS = 127
NAMES = {"neg": "negative", "pos": "positive"}  # of labels that are spelt as in IMDb's folders


def _groups(labels: Any) -> list[Any]:
    """Return a list for each label of how the file spells it."""
    return list(labels.values()) if isinstance(labels, dict) else [[label] for label in labels]


def _labels(labels: Any) -> Any:
    groups = _groups(labels) if isinstance(labels, dict | list) else []
    spellings = [spelling for group in groups if isinstance(group, list) for spelling in group]
    names = [*spellings, *(labels if isinstance(labels, dict) else [])]
    if any(name is None or isinstance(name, bool | float) for name in names):
        raise ValueError(f"must have quotes around a label such as '1.0' or 'true'; got {abbreviated(labels)}")
    known = all(type(name) in (str, int) and name != "" for name in names)
    if (
        not 2 <= len(groups) <= MAX_LABELS
        or not all(isinstance(group, list) and group for group in groups)
        or not known
    ):
        raise ValueError(
            f"must be 2 to {MAX_LABELS} labels, such as [neg, pos] or {{neg: [1, 2], pos: [4, 5]}}; "
            f"got {abbreviated(labels)}"
        )
    for alike in (spellings, _names(labels)):
        if len(set(map(str, alike))) < len(alike):
            raise ValueError(f"must be spelt differently; got {abbreviated(', '.join(map(str, alike)))}")
    return labels


def _names(labels: Any) -> list[str]:
    return [NAMES.get(str(label), str(label)) for label in labels]


def check_delimiter(delimiter: str) -> str:
    """Return a character that may stand between two fields of a CSV file; raise ValueError for anything else."""
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"must be one character, neither a double quote nor a line break; got {delimiter!r}")
    return delimiter


def check_encoding(name: str) -> str:
    """Return the name of an encoding of text; raise ValueError for one that Python does not know."""
    try:
        "".encode(name)  # codecs.lookup also knows encodings of bytes, such as hex
    except (LookupError, ValueError) as error:
        raise ValueError(
            f"must be an encoding of text that Python knows, such as utf-8 or windows-1252; got {name!r}"
        ) from error
    return name


def _language(code: str) -> str:
    check_language(code)
    return code


class Section(BaseModel):
    """Section of `params.yaml` that refuses unknown keys and values of the wrong type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Sample(Section):
    """Parameters of the generated reviews."""

    seed: Natural
    reviews: Annotated[int, Field(ge=100, le=100_000)]


class Remote(Section):
    """Remote file, identified by checksum, and its URL."""

    url: Url
    sha256: Sha256


class Custom(Section):
    """Parameters of the user's own text."""

    path: Name
    url: Url | None
    sha256: Sha256 | None
    labels: Annotated[Any, AfterValidator(_labels)]
    text_column: Name | Positive
    label_column: Name | Positive
    split_column: Name | Positive | None
    group_column: Name | Positive | None
    pattern: Name | None
    header: bool
    delimiter: Annotated[str, AfterValidator(check_delimiter)] | None
    encoding: Annotated[str, AfterValidator(check_encoding)] | None
    quotes: bool | None
    unusable: Literal["refuse", "drop"]
    test_share: InnerShare
    seed: Natural

    @model_validator(mode="after")
    def _names_differ(self) -> "Custom":
        columns = [self.text_column, self.label_column, self.split_column, self.group_column]
        named = [column for column in columns if column is not None]
        if len(set(named)) < len(named):
            raise ValueError(f"its columns must have different names; got {', '.join(map(str, named))}")
        return self

    @model_validator(mode="after")
    def _url_is_complete(self) -> "Custom":
        if (self.url is None) != (self.sha256 is None):
            missing = "url" if self.url is None else "sha256"
            raise ValueError(f"url and sha256 must both be given, or both be null; {missing} is null")
        if self.url is not None and not Path(self.file_name).suffix:
            raise ValueError(f"url must end with the name of a file, such as reviews.csv; got {abbreviated(self.url)}")
        return self

    @property
    def file_name(self) -> str:
        """Name of the file at the end of the URL, whose suffix says what the file holds."""
        return urlsplit(self.url or "").path.rpartition("/")[2]

    @property
    def spellings(self) -> list[list[str]]:
        """Spellings of each label in the file."""
        return [list(map(str, group)) for group in _groups(self.labels)]

    @property
    def label_names(self) -> list[str]:
        """The names of the labels."""
        return _names(self.labels)


class Limits(Section):
    """Upper bounds on an archive."""

    members: Positive
    member_bytes: Positive
    unpacked_bytes: Positive


class Download(Section):
    """Choice and sources of the corpus and of the word vectors."""

    corpus: Literal["sample", "imdb", "custom"]
    sample: Sample
    imdb: Remote
    custom: Custom
    vectors: Remote
    max_bytes: Positive
    limits: Limits

    @property
    def vectors_name(self) -> str:
        """Name of the word vectors file in error messages: the parameter and the user's URL."""
        return f"download.vectors.url {self.vectors.url}"


class Prepare(Section):
    """Parameters of the conversion from text to tensors."""

    language: Annotated[str, AfterValidator(_language)]
    lower: bool
    keep_breaks: bool
    max_tokens: Positive | None
    pad_to: Positive | None
    max_vocab: Positive
    min_freq: Positive
    validation_share: InnerShare
    split_by: Literal["group", "review"]
    max_shared_texts: Annotated[float, Field(ge=0, le=1)]
    labels: Positive | None
    seed: Natural


class Trained(Section):
    """Parameters of the word vectors that are trained on the corpus's own text."""

    dimension: Positive
    window: Annotated[int, Field(ge=1, le=1000)]
    shift: float
    max_tokens: Positive


class Fetched(Section):
    """Parameters of the word vectors that are downloaded."""

    dimension: Positive
    min_coverage: Annotated[float, Field(ge=0, le=1)]


class Vectors(Section):
    """Parameters of the word vectors and the embedding matrix."""

    source: Literal["trained", "fetched", "both"]
    trained: Trained
    fetched: Fetched
    std: Annotated[float, Field(gt=0)] | None
    unknown_std: Annotated[float, Field(ge=0)] | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class Pretrain(Section):
    """Parameters of the language models that pretrain the classifier."""

    enabled: bool
    layers: Positive
    softmax: Literal["adaptive", "sampled", "tied"]
    epochs: Positive
    streams: Positive
    window: Positive
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup_share: Share
    schedule: Literal["constant", "linear", "cosine"]
    weight_decay: Annotated[float, Field(ge=0)]
    dropout_words: Share
    dropout_embedding: Share
    dropout_recurrent: Share
    dropout_layers: Share
    dropout_output: Share
    variational: bool
    clip_norm: Annotated[float, Field(gt=0)]
    held_out_share: InnerShare
    precision: Literal["float32", "bfloat16"]
    seed: Natural


class Baseline(Section):
    """Parameters of the linear baseline."""

    max_words: Positive
    min_reviews: Positive
    max_tokens: Positive
    inverse_penalties: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError(f"must name each pooling once; got {', '.join(values)}")
    return values


class Model(Section):
    """Parameters of the classifier."""

    cell: Literal["rnn", "lstm", "gru"]
    hidden_size: Positive
    layers: Positive
    bidirectional: bool
    mix_directions: bool
    pooling: Annotated[
        list[Literal["last", "mean", "max", "attention"]], Field(min_length=1), AfterValidator(_distinct)
    ]
    dropout_embedding: Share
    dropout_layers: Share
    dropout_output: Share


class Train(Section):
    """Parameters of the training loop."""

    seed: Natural
    batch_size: Positive
    min_steps: Positive
    tokens_at_once: Positive
    precision: Literal["float32", "bfloat16"]
    portable: bool
    processes: Positive
    epochs: Positive
    patience: Positive | None
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup_share: Share
    schedule: Literal["constant", "linear", "cosine"]
    weight_decay: Annotated[float, Field(ge=0)]
    clip_norm: Annotated[float, Field(gt=0)] | None
    embedding_rate: Annotated[float, Field(ge=0, le=1)] | None
    gradual_unfreezing: bool
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    ema_decay: Share
    adversarial: Annotated[float, Field(ge=0)]
    virtual: Annotated[float, Field(ge=0)]
    entropy: Annotated[float, Field(ge=0)]
    class_weights: Literal["balanced"] | None
    epsilon: Annotated[float, Field(gt=0)]
    spans: Natural | None
    refit: bool


class Calibrate(Section):
    """Parameters of the calibration."""

    add_baseline: bool


class Evaluate(Section):
    """Parameters of the evaluation."""

    behaviour: Name
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    gradient_reviews: Positive
    length_bins: Annotated[int, Field(ge=1, le=100)]


class Report(Section):
    """Parameters of the report."""

    mistakes: Natural


class Params(Section):
    """All of `params.yaml`."""

    download: Download
    prepare: Prepare
    vectors: Vectors
    pretrain: Pretrain
    baseline: Baseline
    model: Model
    train: Train
    calibrate: Calibrate
    evaluate: Evaluate
    report: Report

    @model_validator(mode="after")
    def _check_pretrained_layers(self) -> "Params":
        """Refuse to pretrain layers that the classifier lacks, and layers that would see the words they predict."""
        layers, model = self.pretrain.layers, self.model
        if self.pretrain.enabled and layers > model.layers:
            raise ValueError(f"pretrain.layers must be at most model.layers, {model.layers}; got {layers}")
        if self.pretrain.enabled and layers > 1 and model.bidirectional and model.mix_directions:
            raise ValueError(
                f"pretrain.layers must be 1 if model.mix_directions is true; got {layers}; "
                "set model.mix_directions to false"
            )
        return self


def parse_yaml(text: str) -> Any:
    """Parse YAML 1.2 into the same values as DVC does; raise ValueError, with line and column where they are known.

    DVC reads and writes params.yaml with ruamel.yaml. This function uses ruamel.yaml's pure Python parser, since not
    every machine has its C parser and errors should be the same everywhere.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        parts = [(error.context, error.context_mark), (error.problem, error.problem_mark)]
        said = ": ".join(f"{part}{_place(mark)}" for part, mark in parts if part)
        raise ValueError(" ".join(said.split())) from error
    except YAMLError as error:
        raise ValueError(" ".join(str(error).replace('"<unicode string>", ', "").split())) from error
    except VALUE_ERRORS as error:
        raise ValueError(f"a value does not fit its type: {error!r}") from error


def _place(mark: StreamMark | None) -> str:
    return "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"


def read_params(path: Path = PARAMS) -> Params:
    """Read and validate the parameters; raise InputError that names the key, the value found and the values allowed."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise InputError(f"{path}: must have at most {MAX_FILE_BYTES:,} bytes; is it the right file?")
        values = parse_yaml(text.decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; run this from the repository's root") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except ValueError as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from error
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        # A misspelt key gives two errors, unknown and missing; the unknown key is the more helpful error.
        first, *others = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        more = f" (and {len(others)} more like it)" if others else ""
        raise InputError(f"{path}: {_describe(first)}{more}") from error


def _describe(error: ErrorDetails) -> str:
    """Describe an error of pydantic in the terms of `params.yaml`."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    place = place or "the file"
    found = error["input"]
    match error["type"]:
        case "extra_forbidden":
            return f"{place} is not a parameter; valid keys: {', '.join(_sibling_keys(error['loc']))}"
        case "missing":
            return f"{place} is missing; every parameter needs a value"
        case "literal_error":
            allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
            return f"{place} must be one of {allowed}; got {abbreviated(found)}"
        case "value_error":
            return f"{place}: {error['ctx']['error']}" if error["loc"] else str(error["ctx"]["error"])
        case "model_type":
            return f"{place} must be a mapping of keys to values; got {abbreviated(found)}"
    rule = re.sub(r"^\w+ should ", "must ", error["msg"])
    return f"{place} {rule}; got {abbreviated(found)}"


def _sibling_keys(place: tuple[int | str, ...]) -> list[str]:
    """Return the valid keys of the section that contains the last part of `place`."""
    section: type[BaseModel] = Params
    for part in place[:-1]:
        section = cast(type[BaseModel], section.model_fields[str(part)].annotation)
    return list(section.model_fields)

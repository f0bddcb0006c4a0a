"""The parameters: what `params.yaml` may say, checked whole before a stage does any work.

There are no defaults here: each value stands in `params.yaml`, where a person looks for it, beside its meaning.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from sentiment.errors import InputError

PARAMS = Path("params.yaml")

Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^(https?|file)://")]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A mapping of `params.yaml`: known keys, each of its very type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Sample(Section):
    """The embedded corpus."""

    seed: Natural
    reviews: Annotated[int, Field(ge=100, le=100_000)]


class Remote(Section):
    """A file by its content, and where it may be found."""

    url: Url
    sha256: Sha256


class Own(Section):
    """The user's own text."""

    path: Name
    labels: Annotated[list[Name], Field(min_length=2, max_length=2)]
    text_column: Name
    label_column: Name
    split_column: Name | None
    group_column: Name | None
    test_share: InnerShare
    seed: Natural

    @model_validator(mode="after")
    def _names_differ(self) -> "Own":
        if self.labels[0] == self.labels[1]:
            raise ValueError(f"labels must be two different names; got {', '.join(self.labels)}")
        columns = [self.text_column, self.label_column, self.split_column, self.group_column]
        named = [column for column in columns if column is not None]
        if len(set(named)) < len(named):
            raise ValueError(f"its columns must be different ones; got {', '.join(named)}")
        return self


class Download(Section):
    """Which corpus, and where from."""

    corpus: Literal["sample", "imdb", "own"]
    sample: Sample
    imdb: Remote
    own: Own
    vectors: Remote


class Prepare(Section):
    """From text to tensors."""

    lower: bool
    keep_breaks: bool
    max_tokens: Positive | None
    pad_to: Positive | None
    max_vocab: Positive
    min_freq: Positive
    dimension: Positive
    unknown_std: Annotated[float, Field(ge=0)]
    validation_share: InnerShare
    split_by: Literal["group", "review"]
    labels: Positive | None
    seed: Natural


class Pretrain(Section):
    """Language models to start from."""

    enabled: bool
    epochs: Positive
    streams: Positive
    window: Positive
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    dropout: Share
    clip_norm: Annotated[float, Field(gt=0)]
    held_out_share: InnerShare
    precision: Literal["float32", "bfloat16"]
    seed: Natural


class Baseline(Section):
    """The linear model."""

    inverse_penalty: Annotated[float, Field(gt=0)]


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError(f"must name each pooling once; got {', '.join(values)}")
    return values


class Model(Section):
    """The classifier."""

    cell: Literal["rnn", "lstm", "gru"]
    hidden_size: Positive
    layers: Positive
    bidirectional: bool
    pooling: Annotated[
        list[Literal["last", "mean", "max", "attention"]], Field(min_length=1), AfterValidator(_distinct)
    ]
    dropout_embedding: Share
    dropout_layers: Share
    dropout_output: Share


class Train(Section):
    """The training loop."""

    seed: Natural
    batch_size: Positive
    tokens_at_once: Positive
    precision: Literal["float32", "bfloat16"]
    processes: Positive
    epochs: Positive
    patience: Positive | None
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup_share: Share
    schedule: Literal["constant", "linear", "cosine"]
    weight_decay: Annotated[float, Field(ge=0)]
    clip_norm: Annotated[float, Field(gt=0)] | None
    freeze_embeddings: bool
    unfreezing: bool
    rate_decay: Annotated[float, Field(gt=0, le=1)]
    averaging: Share
    adversarial: Annotated[float, Field(ge=0)]
    virtual: Annotated[float, Field(ge=0)]
    entropy: Annotated[float, Field(ge=0)]
    epsilon: Annotated[float, Field(gt=0)]
    refit: bool


class Evaluate(Section):
    """The figures."""

    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    gradient_reviews: Positive
    length_parts: Annotated[int, Field(ge=1, le=100)]


class Report(Section):
    """The page that sums a run up."""

    mistakes: Natural


class Params(Section):
    """All of `params.yaml`."""

    download: Download
    prepare: Prepare
    pretrain: Pretrain
    baseline: Baseline
    model: Model
    train: Train
    evaluate: Evaluate
    report: Report


class Loader(yaml.SafeLoader):
    """YAML as people write it: 2e-3 is a number (to YAML 1.1 it is a word), and no key may stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, or name the key that is repeated."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                place = node.value[number][0].start_mark
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} stands twice; keep one", problem_mark=place
                )
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_params(path: Path = PARAMS) -> Params:
    """Read and check the parameters; raises InputError that names the key, the value and what is allowed."""
    try:
        with path.open(encoding="utf-8") as file:
            values = yaml.load(file, Loader)  # noqa: S506, a SafeLoader
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; run this from the repository's root") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 at byte {error.start}") from error
    except (yaml.YAMLError, ValueError) as error:  # a date that is none, say
        raise InputError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        # A misspelt key is also one that is missing; what is there says more than what is not.
        first, *others = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        more = f" (and {len(others)} more like it)" if others else ""
        raise InputError(f"{path}: {_describe(first)}{more}") from error


def _describe(error: ErrorDetails) -> str:
    """Say in the words of `params.yaml` what pydantic found."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    found = error["input"]
    match error["type"]:
        case "extra_forbidden":
            return f"{place} is not a key; those there are {', '.join(_keys_beside(error['loc']))}"
        case "missing":
            return f"{place} is missing; every key must be given"
        case "literal_error":
            allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
            return f"{place} must be one of {allowed}; got {found!r}"
        case "value_error":
            return f"{place}: {error['ctx']['error']}"
        case "model_type":
            return f"{place or 'the file'} must be a mapping of keys to values; got {found!r}"
    rule = re.sub(r"^\w+ should ", "must ", error["msg"])
    return f"{place} {rule}; got {found!r}"


def _keys_beside(place: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are known where the last part of `place` stands."""
    section: type[BaseModel] = Params
    for part in place[:-1]:
        section = cast(type[BaseModel], section.model_fields[str(part)].annotation)
    return list(section.model_fields)

"""Schema of `params.yaml`, which is validated as a whole before a stage does any work.

The schema has no defaults: every value is in `params.yaml`, where users look for the value and its explanation.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from sentiment.errors import InputError, abbreviated

PARAMS = Path("params.yaml")
MAX_DEPTH = 10  # levels of nesting; this project's file has 3
MAX_FILE_BYTES = 1 << 16  # nine times this project's file; ruamel.yaml reads only 20 kB a second in the worst case
VERSION = (1, 2)  # the version of YAML that DVC reads and writes

# ruamel.yaml also raises these errors for a scalar that only looks like a number, and for a tag that does not fit.
YAML_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)

Natural = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Share = Annotated[float, Field(ge=0, lt=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^(https?|file)://")]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """Mapping in `params.yaml` that refuses unknown keys and values of a wrong type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Sample(Section):
    """Parameters of the embedded corpus."""

    seed: Natural
    reviews: Annotated[int, Field(ge=100, le=100_000)]


class Remote(Section):
    """Remote file, identified by checksum, and its URL."""

    url: Url
    sha256: Sha256


class Custom(Section):
    """Parameters of the user's own text."""

    path: Name
    labels: Annotated[list[Name], Field(min_length=2, max_length=2)]
    text_column: Name
    label_column: Name
    split_column: Name | None
    group_column: Name | None
    test_share: InnerShare
    seed: Natural

    @model_validator(mode="after")
    def _names_differ(self) -> "Custom":
        if self.labels[0] == self.labels[1]:
            raise ValueError(f"labels must be two different names; got {', '.join(self.labels)}")
        columns = [self.text_column, self.label_column, self.split_column, self.group_column]
        named = [column for column in columns if column is not None]
        if len(set(named)) < len(named):
            raise ValueError(f"its columns must be different ones; got {', '.join(named)}")
        return self


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
        return f"download.vectors.url {self.vectors.url}" if self.corpus != "sample" else "the sample's vectors"


class Prepare(Section):
    """Parameters of the conversion from text to tensors."""

    lower: bool
    keep_breaks: bool
    max_tokens: Positive | None
    pad_to: Positive | None
    max_vocab: Positive
    min_freq: Positive
    dimension: Positive
    unknown_std: Annotated[float, Field(ge=0)]
    min_coverage: Annotated[float, Field(ge=0, le=1)]
    validation_share: InnerShare
    split_by: Literal["group", "review"]
    max_shared_texts: Annotated[float, Field(ge=0, le=1)]
    labels: Positive | None
    seed: Natural


class Pretrain(Section):
    """Parameters of the language models that pretrain the classifier."""

    enabled: bool
    layers: Positive
    softmax: Literal["adaptive", "tied"]
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

    inverse_penalty: Annotated[float, Field(gt=0)]


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
    freeze_embeddings: bool
    gradual_unfreezing: bool
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    ema_decay: Share
    adversarial: Annotated[float, Field(ge=0)]
    virtual: Annotated[float, Field(ge=0)]
    entropy: Annotated[float, Field(ge=0)]
    epsilon: Annotated[float, Field(gt=0)]
    refit: bool


class Evaluate(Section):
    """Parameters of the evaluation."""

    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    gradient_reviews: Positive
    length_bins: Annotated[int, Field(ge=1, le=100)]


class Report(Section):
    """Parameters of the report."""

    mistakes: Natural


class Params(Section):
    """Complete contents of `params.yaml`."""

    download: Download
    prepare: Prepare
    pretrain: Pretrain
    baseline: Baseline
    model: Model
    train: Train
    evaluate: Evaluate
    report: Report

    @model_validator(mode="after")
    def _check_pretrained_layers(self) -> "Params":
        """Refuse to pretrain layers that the classifier lacks, or layers that would see the words that they predict."""
        layers, model = self.pretrain.layers, self.model
        if self.pretrain.enabled and layers > model.layers:
            raise ValueError(f"pretrain.layers must be at most model.layers, {model.layers}; got {layers}")
        if self.pretrain.enabled and layers > 1 and model.bidirectional and model.mix_directions:
            raise ValueError(
                f"pretrain.layers must be 1 where model.mix_directions is true; got {layers}; set that to false"
            )
        return self


class _Composer(Composer):
    """Composer that refuses aliases, deep nesting and versions of YAML other than 1.2.

    Nine lines of aliases can expand to gigabytes. YAML 1.1 reads `no` as false and 010 as 8.
    """

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # a repeated anchor is harmless without aliases

    def compose_document(self) -> Any:
        """Compose a document; raise ComposerError if the document declares another version of YAML."""
        start = self.parser.peek_event()
        if start.version not in (None, VERSION):
            raise ComposerError(
                problem="the file must be YAML 1.2, as DVC writes it; remove the %YAML directive",
                problem_mark=start.start_mark,
            )
        return super().compose_document()

    def compose_node(self, parent: Node | None, index: Node | int | None) -> Any:
        """Compose a node; raise ComposerError, with the position, for an alias and for too deep nesting."""
        if self.parser.check_event(AliasEvent):
            alias = self.parser.get_event()
            raise ComposerError(
                problem=f"*{alias.anchor} refers to another value; write that out", problem_mark=alias.start_mark
            )
        if self.depth >= MAX_DEPTH:
            raise ComposerError(problem="this is nested too deep", problem_mark=self.parser.peek_event().start_mark)
        return super().compose_node(parent, index)


class _Constructor(SafeConstructor):
    """Constructor whose errors name a repeated key or a value that does not fit its tag."""

    def construct_object(self, node: Any, deep: bool = True) -> object:
        """Construct a value immediately, not in a later pass, so that an error has the position of the value."""
        try:
            return super().construct_object(node, deep=True)
        except YAML_ERRORS as error:
            found = abbreviated(node.value) if isinstance(node, ScalarNode) else f"this {node.id}"
            raise ConstructorError(
                problem=f"{found} is no {node.tag.rpartition(':')[2]}", problem_mark=node.start_mark
            ) from error

    def construct_mapping(self, node: Node, deep: bool = True) -> dict[Any, Any]:
        """Construct a mapping; raise ConstructorError for a repeated key."""
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, MappingNode) else []:
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    raise ConstructorError(
                        problem=f"the key {abbreviated(key.value)} stands twice; keep one", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def parse_yaml(text: str) -> Any:
    """Parse YAML 1.2 into the same values as DVC does; raise ValueError with line and column.

    DVC reads and writes params.yaml with ruamel.yaml. This function uses ruamel.yaml's pure Python parser, since not
    every machine has its C parser and errors should be the same everywhere.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor = _Composer, _Constructor
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        parts = [(error.context, error.context_mark), (error.problem, error.problem_mark)]
        said = ": ".join(f"{part}{_place(mark)}" for part, mark in parts if part)
        raise ValueError(" ".join(said.split())) from error
    except (YAMLError, *YAML_ERRORS) as error:
        raise ValueError(" ".join(str(error).replace('"<unicode string>", ', "").split())) from error


def _place(mark: StreamMark | None) -> str:
    return "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"


def read_params(path: Path = PARAMS) -> Params:
    """Read and validate the parameters; raise InputError with the key, the value found and the values allowed."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise InputError(f"{path}: must be of at most {MAX_FILE_BYTES:,} bytes; is this the file that was meant?")
        values = parse_yaml(text.decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; run this from the repository's root") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 at byte {error.start}") from error
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
            return f"{place} is not a key; those there are {', '.join(_sibling_keys(error['loc']))}"
        case "missing":
            return f"{place} is missing; every key must be given"
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

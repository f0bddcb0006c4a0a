"""Generate short film reviews from a small grammar.

The corpus is designed so that a bag of words is not enough. Only one sentence, the reviewer's own verdict, decides the
label. The verdict may be negated far from its adjective ("At no point did the plot strike me as dull.") or contain a
contrast ("I expected something tender, but what I got was clumsy."). The verdict may stand anywhere among sentences
about the plot and sentences that report other people's opinions, whose adjectives are independent of the label. So a
model has to learn whose opinion a sentence expresses and whether the opinion is negated.

Test reviews share no sentence with the other reviews: the digest of a sentence decides on which side it may be used.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import cycle

import numpy as np
import numpy.typing as npt

from sentiment.corpora.reviews import Review

# Sorted by frequency: the probability of an adjective falls with its rank, so that the last adjectives are rare or
# missing in training.
POSITIVE = """
brilliant charming clever moving tender delightful superb gripping lovely witty wonderful warm inspired thrilling
graceful splendid touching funny elegant masterful fresh honest stirring radiant subtle poignant exquisite lively
magnificent absorbing crisp heartfelt dazzling playful assured vivid humane luminous exhilarating nimble resonant
sublime soulful rousing sparkling deft bewitching sprightly irresistible beguiling
""".split()
NEGATIVE = """
dull clumsy tedious hollow awful lifeless shallow dreary stale boring terrible cold pointless messy sluggish dismal
tiresome grating lazy forgettable bland crude muddled wooden sloppy tasteless preachy feeble dire leaden trite insipid
laboured soulless grim shabby incoherent dismaying vapid plodding stilted ponderous mawkish inept turgid soporific
hackneyed ham-fisted execrable interminable
""".split()
EITHER = [word for pair in zip(POSITIVE, NEGATIVE, strict=True) for word in pair]
RANK_EXPONENT = 1.2  # Zipf's law
ADJECTIVE_SLOTS = ("good", "bad", "either")

# The reviewer's verdict, which decides the label. {good} takes an adjective of the label's polarity, {bad} an
# adjective of the opposite polarity.
PLAIN = """
For me the {thing} was {degree} {good}.
I came away thinking it was {degree} {good}.
To my mind this is a {degree} {good} {film}.
I found the {thing} {degree} {good} from start to finish.
In the end I thought the {thing} {degree} {good}.
My own verdict on the {thing} is that it is {degree} {good}.
"""
NEGATED = """
At no point did the {thing} strike me as {degree} {bad}.
I would never call the {thing} {degree} {bad}.
Nothing about the {thing} seemed {degree} {bad} to me.
I do not, for one moment, think the {thing} was {degree} {bad}.
Not a scene of it felt {degree} {bad} to me.
Nobody could persuade me that the {thing} is {degree} {bad}.
"""
CONTRAST = """
I expected something {degree} {bad}, but what I got was {good}.
Although the first {period} is {bad}, I left the {place} sure that the whole is {degree} {good}.
I wanted to call the {thing} {bad}, yet to me it turned out {degree} {good}.
I was sure that the {thing} would be {bad} and I was wrong, since I found it {degree} {good}.
"""
# Other people's opinions: {either} takes an adjective of either polarity, independently of the label.
HEARSAY = """
My {relative} called the {thing} {degree} {either}.
The poster promised a {degree} {either} {film}.
Most critics found the last {film} by this director {degree} {either}.
A {relative} of mine will tell you that it is {degree} {either}.
The couple in the row behind us kept saying how {either} the {thing} was.
According to my {relative} the {thing} is never {either}.
Nobody at the {place} thought the trailer {degree} {either}.
"""
NEUTRAL = """
The story follows a {role} and a {role} in {town}.
It was shot in {town} over {number} weeks.
A {role} loses a {object} and spends {number} days looking for it.
The {role} is played by {name}, who also wrote the {thing}.
We watched it on a {day} at the {place} near {town}.
Halfway through, the {role} finds a {object} under the floor.
The {film} runs for about {number} hours and opens in {town}.
{name} plays a {role} who moves to {town} with a {object}.
There is a long scene in which the {role} repairs a {object}.
It ends with the {role} on a train to {town}.
"""

WORDS = {
    "thing": "film story script acting music ending pacing dialogue camerawork plot".split(),
    "film": "film picture movie drama comedy thriller".split(),
    "degree": "rather thoroughly quite really truly completely remarkably wholly".split(),
    "period": "hour half act reel".split(),
    "place": "cinema festival theatre multiplex".split(),
    "relative": "sister neighbour brother colleague cousin teacher dentist flatmate".split(),
    "role": "baker sailor detective widow student postman nurse clerk gardener pilot".split(),
    "town": "Lisbon Bergen Cork Turin Malmo Ghent Porto Riga Oslo Trieste".split(),
    "number": "two three four five six seven eight nine".split(),
    "object": "letter suitcase piano bicycle ring camera violin compass".split(),
    "name": "Ada Marsh|Tom Keller|Rosa Lind|Ivo Brandt|Mina Falk|Paul Orsini".split("|"),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
}
TITLES = "Harbour Lantern Orchard Winter Mirror River Garden Bridge Island Letter Summer Stranger".split()

VERDICTS, VERDICT_SHARES = (PLAIN, NEGATED, CONTRAST), (0.45, 0.3, 0.25)
TEST_SHARE, UNSUP_SHARE = 0.25, 0.1
REVIEWS_A_FILM = 10


def generate_reviews(count: int, seed: int) -> Iterator[Review]:
    """Yield `count` reviews for train and test, half positive each, and unsup; a film's reviews share one split."""
    random = np.random.default_rng(seed)
    counts = {"test": round(count * TEST_SHARE), "unsup": round(count * UNSUP_SHARE)}
    counts = {"train": count - sum(counts.values()), **counts}
    for split, size in counts.items():
        for number in range(size):
            label = number % 2
            film = f"{TITLES[number // REVIEWS_A_FILM % len(TITLES)]} {number // REVIEWS_A_FILM // len(TITLES) + 1}"
            yield Review(
                id=f"{split}/{number:05d}",
                split=split,
                label=None if split == "unsup" else label,
                rating=None,
                group=f"{split}: {film}",
                text=_review(random, label, in_test=split == "test"),
                where=f"sample {split}/{number:05d}",
            )


def _review(random: np.random.Generator, label: int, in_test: bool) -> str:
    """Compose one review: a verdict at a random place among hearsay and plot, with an occasional paragraph break."""
    verdict = VERDICTS[random.choice(len(VERDICTS), p=VERDICT_SHARES)]
    around = [HEARSAY] * random.integers(0, 3) + [NEUTRAL] * random.integers(1, 5)
    order = [around[number] for number in random.permutation(len(around))]
    order.insert(int(random.integers(0, len(order) + 1)), verdict)
    sentences = [_sentence(random, templates, label, in_test) for templates in order]
    gaps = ["<br /><br />" if random.random() < 0.1 else " " for _ in sentences[1:]] + [""]
    return "".join(sentence + gap for sentence, gap in zip(sentences, gaps, strict=True))


def _sentence(random: np.random.Generator, templates: str, label: int, in_test: bool) -> str:
    """Fill in random templates until a sentence belongs to the requested side, test or not."""
    own, other = (POSITIVE, NEGATIVE) if label else (NEGATIVE, POSITIVE)
    words = {**WORDS, "good": own, "bad": other, "either": EITHER}
    choices = templates.strip().splitlines()
    while True:
        template = choices[random.integers(len(choices))]
        sentence = _fill(random, template, words)
        if _is_of_test(sentence) == in_test:
            return sentence


def _fill(random: np.random.Generator, template: str, words: dict[str, list[str]]) -> str:
    """Replace each {slot} by a random word; a repeated slot gets independent draws."""
    parts = template.replace("}", "{").split("{")
    return "".join(
        _draw(random, part, words[part]) if slot else part for part, slot in zip(parts, cycle((False, True)))
    )


def _draw(random: np.random.Generator, slot: str, words: list[str]) -> str:
    """Draw a word: an adjective of rank r, from 1, with weight r ** -RANK_EXPONENT, other words uniformly."""
    thresholds = _thresholds(len(words), RANK_EXPONENT if slot in ADJECTIVE_SLOTS else 0.0)
    return words[int(np.searchsorted(thresholds, random.random() * thresholds[-1]))]


@cache
def _thresholds(count: int, exponent: float) -> npt.NDArray[np.float64]:
    return np.cumsum(np.arange(1, count + 1) ** -exponent)


def _is_of_test(sentence: str) -> bool:
    return hashlib.sha256(sentence.encode()).digest()[0] < 256 * TEST_SHARE

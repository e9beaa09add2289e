"""One rule for every claim: what an interval says of a sentence, in one of five words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ._intervals import Interval

SUPPORTED = "supported"
CONTRADICTED = "contradicted"
UNDECIDED = "undecided"
UNTESTABLE = "cannot be tested here"
INCONSISTENT = "contradicts itself"
WORDS = (SUPPORTED, CONTRADICTED, UNDECIDED, UNTESTABLE, INCONSISTENT)
UNSAID = "depends on what the paper does not say"  # how the reason of some undecided ones begins
RULE = (
    "A claim is put as a range in which a measured quantity would have to lie. "
    "It is *supported* where the whole interval of the measurement lies in that range, and "
    "*contradicted* where the whole interval lies outside. "
    "Everything else is *undecided*: an interval that leaves both possible, one subject, equal "
    "scores, trainings that collapsed, two ways of training compared by one seed of each, or a "
    "result that hangs on something the paper does not say. "
    "(What one network does, or that something is possible at all, a single training can show.) "
    "A claim *cannot be tested here* where what it speaks of is not at hand, and *contradicts "
    "itself* where the paper says two things that cannot both be true. "
    "Real data, or figures published about them, are asked before the phantom."
)


@dataclass(frozen=True)
class Claim:
    """A sentence, as the range `low` … `high` in which a quantity lies if it is true.

    `text`: the claim in short. `closed`: whether the ends belong to the range; "better" is the
    open range from 0 upwards. Where no measurement can judge, one of three reasons in words:
    `untestable` (what is missing here), `inconsistent` (which two things contradict each other),
    `unsaid` (what the paper leaves open, on which the answer hangs).
    `more`, `less` and `within` make the usual ones.
    """

    text: str
    low: float = -math.inf
    high: float = math.inf
    closed: bool = True
    untestable: str = ""
    inconsistent: str = ""
    unsaid: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("A claim needs words.")
        if not self.low <= self.high:  # so that NaN is refused as well
            raise ValueError(
                f"The claim {self.text!r} asserts a range from {self.low} to {self.high}."
            )
        reasons = sum(bool(reason) for reason in (self.untestable, self.inconsistent, self.unsaid))
        if reasons > 1:
            raise ValueError(
                f"The claim {self.text!r} has {reasons} reasons not to be judged: give one."
            )
        if not reasons and math.isinf(self.low) and math.isinf(self.high):
            raise ValueError(f"The claim {self.text!r} asserts nothing: any number would do.")

    @property
    def range(self) -> str:
        """The range in words: "above 0", "between 0.95 and 1"."""
        if self.low == self.high:
            return f"{self.low:g}"
        if math.isinf(self.low) and math.isinf(self.high):
            return "not put in numbers"
        if math.isinf(self.high):
            return f"{'at least' if self.closed else 'above'} {self.low:g}"
        if math.isinf(self.low):
            return f"{'at most' if self.closed else 'below'} {self.high:g}"
        return f"between {self.low:g} and {self.high:g}"

    @classmethod
    def more(cls, text: str, than: float = 0.0) -> Claim:
        """The quantity is greater than a number."""
        return cls(text, low=than, closed=False)

    @classmethod
    def less(cls, text: str, than: float = 0.0) -> Claim:
        """The quantity is less than a number."""
        return cls(text, high=than, closed=False)

    @classmethod
    def within(cls, text: str, low: float, high: float) -> Claim:
        """The quantity lies in a range, its ends included."""
        return cls(text, low, high)

    @classmethod
    def without_test(
        cls, text: str, untestable: str = "", inconsistent: str = "", unsaid: str = ""
    ) -> Claim:
        """No measurement can judge it, for the one reason that is given."""
        if not (untestable or inconsistent or unsaid):
            raise ValueError(f"The claim {text!r} needs the reason why it cannot be tested.")
        return cls(text, untestable=untestable, inconsistent=inconsistent, unsaid=unsaid)


@dataclass(frozen=True)
class Verdict:
    """One of five words, why, and on which data (where that matters).

    What it rests on, for whoever draws it: `interval`, the measurement, with `asserted`, the claim
    that it was held against (both None where nothing could be measured); or `parts`, the verdicts
    that it was put together from, by name.
    """

    word: str
    reason: str
    claim: str = ""
    data: str = ""
    interval: Interval | None = field(default=None, compare=False, repr=False)
    asserted: Claim | None = field(default=None, compare=False, repr=False)
    parts: tuple[tuple[str, Verdict], ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.word not in WORDS:
            raise ValueError(f"{self.word!r} is no verdict: there are {', '.join(WORDS)}.")

    def __str__(self) -> str:
        on = self.data and self.word in (SUPPORTED, CONTRADICTED, UNDECIDED)
        return f"{self.word} on {self.data}" if on else self.word


def verdict(
    estimate: float | None, interval: Interval | None, claim: Claim, data: str = ""
) -> Verdict:
    """What a measurement says of a claim. The only place where that is decided.

    `estimate` and its `interval`, from this package; `counted(number)` for what has no chance in
    it. `data`: the name of what was measured on. Undecided unless the whole interval lies on one
    side; a missing estimate or interval, or an estimate outside its own interval, is undecided
    with the reason in words.
    """

    def said(word: str, reason: str) -> Verdict:
        return Verdict(word, reason, claim.text, data, interval, claim)

    if claim.inconsistent:
        return said(INCONSISTENT, claim.inconsistent)
    if claim.untestable:
        return said(UNTESTABLE, claim.untestable)
    if claim.unsaid:
        return said(UNDECIDED, f"{UNSAID}: {claim.unsaid}")
    if interval is None or estimate is None or interval.low is None or interval.high is None:
        note = interval.note if interval is not None else ""
        return said(UNDECIDED, note or "not known: nothing was measured")
    low, high = interval.low, interval.high
    measured = _measured(estimate, interval)
    if not (math.isfinite(estimate) and low <= estimate <= high):
        return said(
            UNDECIDED,
            f"not known: the estimate {estimate:.3g} lies outside its own "
            f"interval, {interval.text()}",
        )
    inside = (
        claim.low <= low and high <= claim.high
        if claim.closed
        else claim.low < low and high < claim.high
    )
    outside = (
        high < claim.low or low > claim.high
        if claim.closed
        else high <= claim.low or low >= claim.high
    )
    point = low == high
    if inside:
        return said(SUPPORTED, f"{measured}, {'which is' if point else 'all of it'} {claim.range}")
    if outside:
        not_in = "which is not" if point else "none of it"
        return said(CONTRADICTED, f"{measured}, {not_in} {claim.range}")
    return said(UNDECIDED, f"{measured}, which is partly {claim.range}")


def _measured(estimate: float, interval: Interval) -> str:
    if interval.low == interval.high:
        return f"{estimate:,.0f}" if estimate == int(estimate) else f"{estimate:.3g}"
    return f"{estimate:.3g} ({interval.level_text}: {interval.text()})"


def every(parts: Mapping[str, Verdict], text: str, data: str = "") -> Verdict:
    """The verdict of a claim that several measurements must all support.

    `parts`: by name. One that contradicts is enough to contradict the whole; otherwise one that
    is not supported leaves it undecided. For intervals that hold together, ask each at
    `family_level(len(parts))`. Sources: Berger 1982 (all must hold), Dunn 1961.
    """
    words = [part.word for part in parts.values()]
    word = (
        CONTRADICTED
        if CONTRADICTED in words
        else SUPPORTED
        if words and set(words) == {SUPPORTED}
        else UNTESTABLE
        if words and set(words) == {UNTESTABLE}
        else UNDECIDED
    )
    return Verdict(word, _listed(parts), text, data or _common(parts), parts=tuple(parts.items()))


def over_readings(parts: Mapping[str, Verdict], text: str, data: str = "") -> Verdict:
    """The verdict where the paper can be read in several ways, each measured.

    All readings agree: their verdict. Otherwise undecided, since it depends on what the paper
    does not say.
    """
    words = {part.word for part in parts.values()}
    agreed = len(words) == 1
    hangs = f"{UNSAID}; " if parts and not agreed else ""
    return Verdict(
        words.pop() if agreed else UNDECIDED,
        hangs + _listed(parts),
        text,
        data or _common(parts),
        parts=tuple(parts.items()),
    )


def first_testable(parts: Iterable[Verdict]) -> Verdict:
    """Of verdicts from the most real data to the least, the first that could be tested.

    Real scans stand before published figures of them, and those before the phantom. What the
    better data leave undecided, the phantom does not decide.
    Raises ValueError where there are none.
    """
    asked = list(parts)
    if not asked:
        raise ValueError("There are no verdicts to choose from.")
    return next((part for part in asked if part.word != UNTESTABLE), asked[0])


def _listed(parts: Mapping[str, Verdict]) -> str:
    if not parts:
        return "not known: nothing was measured"
    return "; ".join(f"{name}: {part.word} ({part.reason})" for name, part in parts.items())


def _common(parts: Mapping[str, Verdict]) -> str:
    """The data that all parts have in common, or ""."""
    names = {part.data for part in parts.values()}
    return names.pop() if len(names) == 1 else ""


def count_verdicts(verdicts: Iterable[Verdict | str]) -> dict[str, int]:
    """How many there are of each of the five words, in the order of WORDS.

    Raises ValueError for a text that begins with none of them.
    """
    counts = dict.fromkeys(WORDS, 0)
    for one in verdicts:
        text = str(one)
        word = next((word for word in WORDS if f"{text} on ".startswith(f"{word} on ")), None)
        if word is None:
            raise ValueError(f"{text!r} is no verdict: there are {', '.join(WORDS)}.")
        counts[word] += 1
    return counts


def rank(means: Mapping[str, float], name: str) -> tuple[int, int]:
    """A name's place by its mean, the greatest first, and of how many: (1, 11) is the best.

    Equal means share the better place; means that are missing (NaN or NA) come last.
    Raises ValueError for a name that has no mean.
    """
    known = {
        key: float(value)
        for key, value in dict(means).items()
        if value is not None and value == value
    }
    if name not in known:
        raise ValueError(f"{name!r} has no mean to be ranked by: there are {', '.join(known)}.")
    return 1 + sum(value > known[name] for value in known.values()), len(dict(means))

"""The one statistics room: what a table of scores says, and what it does not.

Which question, which function:

- *How good is it?* `mean_interval`: a mean over subjects and its interval, by Student's t, which
  holds its level on skewed Dice; `share_interval` for a share, `counted` for a number without
  chance. What the level is worth at this n: `simulate_coverage`, `usual_coverage`.
- *Is one method better than another on the same subjects?* `paired_test`; for a family,
  `paired_table` with Holm's correction. What so few subjects can show at all: `smallest_p`,
  `power_note`, `subjects_needed`. All folds as one test set: `pool_folds`.
- *Is one recipe better than another, whatever the seed?* `paired_effect`, paired by seed and
  subject; for a grid, `effects`. What it would take: `measure_spreads`, `power`, `seeds_needed`;
  rolled as dice: `simulate_power`.
- *Does a sentence hold?* `verdict` of a `Claim`: supported, contradicted, undecided, cannot be
  tested here, or contradicts itself; from an interval, never from a sign. Several measurements:
  `every`, `over_readings`, `first_testable`.

Nothing here returns NaN. What is not defined is None (NA in tables) beside a reason in words:
one subject, one seed, equal scores, a training that collapsed, no pair.
SciPy and statsmodels do what they can; each function names the source of its method.
"""

from ._intervals import (
    Draw,
    Interval,
    Scores,
    counted,
    family_level,
    mean_interval,
    share_interval,
    simulate_coverage,
    unknown,
    usual_coverage,
    with_note,
)
from ._paired import (
    Paired,
    Pooled,
    holm,
    paired_table,
    paired_test,
    pairs_needed,
    pool_folds,
    power_note,
    smallest_p,
    subjects_needed,
)
from ._seeds import (
    COLLAPSED,
    ENOUGH_SEEDS,
    POPULATION,
    SMALL_SEEDS,
    THESE_SUBJECTS,
    Crossed,
    Effect,
    Needed,
    Spreads,
    collapsed_trainings,
    crossed_interval,
    effects,
    measure_spreads,
    of_one_seed,
    paired_effect,
    paired_scores,
    power,
    seeds_needed,
    simulate_power,
)
from ._verdicts import (
    CONTRADICTED,
    INCONSISTENT,
    RULE,
    SUPPORTED,
    UNDECIDED,
    UNSAID,
    UNTESTABLE,
    WORDS,
    Claim,
    Verdict,
    count_verdicts,
    every,
    first_testable,
    over_readings,
    rank,
    verdict,
)

__all__ = [
    "COLLAPSED",
    "CONTRADICTED",
    "Claim",
    "Crossed",
    "Draw",
    "ENOUGH_SEEDS",
    "Effect",
    "INCONSISTENT",
    "Interval",
    "Needed",
    "POPULATION",
    "Paired",
    "Pooled",
    "RULE",
    "SMALL_SEEDS",
    "SUPPORTED",
    "Scores",
    "Spreads",
    "THESE_SUBJECTS",
    "UNDECIDED",
    "UNSAID",
    "UNTESTABLE",
    "Verdict",
    "WORDS",
    "collapsed_trainings",
    "count_verdicts",
    "counted",
    "crossed_interval",
    "effects",
    "every",
    "family_level",
    "first_testable",
    "holm",
    "mean_interval",
    "measure_spreads",
    "of_one_seed",
    "over_readings",
    "paired_effect",
    "paired_scores",
    "paired_table",
    "paired_test",
    "pairs_needed",
    "pool_folds",
    "power",
    "power_note",
    "rank",
    "seeds_needed",
    "share_interval",
    "simulate_coverage",
    "simulate_power",
    "smallest_p",
    "subjects_needed",
    "unknown",
    "usual_coverage",
    "verdict",
    "with_note",
]

"""The verdict: what the evidence before and after a correction says, in one finding for each thing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.findings import Action, Finding, What
from i2r.form_names import OPERATORS, RECORDS
from i2r.screening.regions import Region, regions
from i2r.screening.statistics import STATISTICS, Scope
from i2r.screening.trace import Screening
from i2r.verdict import FORMS, Verdict

SIDE = 400
PARTS = regions(SIDE, SIDE)
TYPICAL = dict.fromkeys(STATISTICS, 0.5)
ALL = np.ones((SIDE, SIDE), np.bool_)
NONE = ~ALL
EVERY = dict.fromkeys(STATISTICS, ALL)


def screening(*atypical: str, suspected: tuple[str, ...] = (), parts: list[Region] = PARTS[:1]) -> Screening:
    local = {name for name, statistic in STATISTICS.items() if statistic.scope is Scope.REGION}
    return Screening(
        TYPICAL | dict.fromkeys(atypical, 1e-6) | dict.fromkeys(suspected, 0.03),
        frozenset(atypical),
        dict.fromkeys(local.intersection(atypical), parts),
        {name: parts if name in local else [] for name in suspected},
    )


def verdict(*atypical: str, suspected: tuple[str, ...] = (), **values: object) -> Verdict:
    return Verdict(screening(*atypical, suspected=suspected), (SIDE, SIDE), **values)  # type: ignore[arg-type]


def named(findings: tuple[Finding, ...]) -> list[tuple[What, Action]]:
    return [(finding.what, finding.action) for finding in findings]


def test_every_form_is_found_as_something() -> None:
    assert set(FORMS) == {*OPERATORS, *RECORDS}


def test_what_is_certain_remains_where_the_input_is_kept_and_the_rest_is_suspected() -> None:
    blur, marks = verdict("lag", suspected=("overlay",)).of_the_input()
    assert (blur.what, blur.action, blur.share, blur.boxes) == (What.BLUR, Action.REMAINS, 1.0, [])
    assert (marks.what, marks.action, marks.boxes) == (What.MARKS, Action.SUSPECTED, [(0, 0, 200, 200)])
    assert (marks.confidence, marks.share) == (pytest.approx(0.97), 0.25)


def test_what_went_with_the_damage_was_nothing_by_itself() -> None:
    found = verdict("grain", "lag", "tails").of_the_result(screening(), ALL, EVERY)
    assert named(found) == [(What.DEAD_PIXELS, Action.CORRECTED)]
    found = verdict("grain", "lag", "tails").of_the_result(screening(), ALL, None)
    assert named(found) == [(What.NOISE, Action.CORRECTED), (What.DEAD_PIXELS, Action.CORRECTED)]


def test_damage_of_which_no_pixel_is_sure_is_suspected() -> None:
    seen = verdict("tails", "lag", suspected=("overlay",))
    here = NONE.copy()
    here[5, 5] = True
    blur, dead, marks = seen.of_the_input()
    assert (blur.action, dead.action, marks.action) == (Action.REMAINS, Action.SUSPECTED, Action.SUSPECTED)
    assert dead.boxes == [(0, 0, 200, 200)]
    assert named(seen.of_the_input({"tails": here}))[1] == (What.DEAD_PIXELS, Action.REMAINS)
    after = screening("tails")
    assert named(seen.of_the_result(after, ALL, {}))[-1] == (What.DEAD_PIXELS, Action.SUSPECTED)
    assert named(seen.of_the_result(after, ALL, {"tails": here}))[-1] == (What.DEAD_PIXELS, Action.REMAINS)


def test_two_signs_of_noise_are_one_finding() -> None:
    [noise] = verdict("grain", "antilag", "patchy").of_the_input()
    assert (noise.what, noise.boxes, noise.action) == (What.NOISE, [], Action.REMAINS)
    assert named(verdict("grain", suspected=("patchy",)).of_the_input()) == [(What.NOISE, Action.REMAINS)]
    assert named(verdict("patchy").of_the_input()) == [(What.NOISE_IN_A_PART, Action.SUSPECTED)]


def test_noise_that_was_removed_in_a_part_was_there_alone() -> None:
    part = NONE.copy()
    part[:100, :100] = True
    [noise] = verdict("grain", "patchy").of_the_result(screening(), part, {})
    assert (noise.what, noise.action) == (What.NOISE_IN_A_PART, Action.CORRECTED)
    assert noise.share == part.mean()
    assert noise.boxes == [(0, 0, 200, 200)]


def test_damage_is_as_large_as_what_was_filled() -> None:
    filled = NONE.copy()
    filled[:10, :10] = filled[300, 300] = True
    found = verdict("streaks", "overlay")
    streaks = found.of_the_result(screening("overlay"), filled, {"streaks": filled})[0]
    assert (streaks.what, streaks.share) == (What.STREAKS, 100 / SIDE**2)
    assert verdict("streaks").of_the_result(screening(), ALL, {}) == ()


def test_what_still_shows_remains_and_what_only_the_result_shows_is_no_finding() -> None:
    found = verdict("grain", "lag").of_the_result(screening("lag", "period", suspected=("tails",)), ALL, {})
    assert named(found) == [(What.NOISE, Action.CORRECTED), (What.BLUR, Action.REMAINS)]
    blocky = verdict("period", parameters={"jpeg": {}}).of_the_result(screening("period"), ALL, {})
    assert named(blocky) == [(What.BLOCKS, Action.CORRECTED), (What.BLOCKS, Action.REMAINS)]


def test_what_noise_hid_the_kind_of_is_not_called_corrected() -> None:
    assert named(verdict("grain", "period").of_the_result(screening(), ALL, {})) == [
        (What.NOISE, Action.CORRECTED)
    ]


@pytest.mark.parametrize(
    ("form", "what"),
    [("downsampling", What.LOW_RESOLUTION), ("jpeg", What.BLOCKS), ("motion_blur", What.BLUR)],
)
def test_the_form_that_was_undone_tells_what_it_was(form: str, what: What) -> None:
    found = verdict("lag", "period", parameters={form: {"factor": 2}})
    [finding] = found.of_the_result(screening(), ALL, {})
    assert (finding.what, finding.parameters) == (what, {form: {"factor": 2}})
    [remains] = found.of_the_input()
    assert (remains.what, remains.parameters) == (what, {form: {"factor": 2}})


def test_what_was_specified_is_certain() -> None:
    found = verdict("tails", parameters={"mask": {"fraction": 0.1}, "noise": {"level": 0.1}}, specified=True)
    noise, missing = found.of_the_result(screening(), ALL, None)
    assert (noise.what, missing.what) == (What.NOISE, What.MISSING_PIXELS)
    assert noise.confidence == missing.confidence == 1
    assert missing.parameters["mask"] == {"fraction": 0.1}


def test_the_same_is_suspected_elsewhere() -> None:
    after = Screening(TYPICAL, suspected={"streaks": PARTS[:2]})
    corrected, suspected = verdict("streaks").of_the_result(after, ALL, EVERY)
    assert (corrected.action, corrected.boxes) == (Action.CORRECTED, [(0, 0, 200, 200)])
    assert (suspected.action, suspected.boxes) == (Action.SUSPECTED, [(200, 0, 400, 200)])


def test_latents_lie_on_a_coarser_grid() -> None:
    seen = screening("tails", parts=regions(50, 50))
    [tails] = Verdict(seen, (397, SIDE), factor=8).of_the_input({"tails": ALL[:397]})
    assert tails.boxes == [(0, 0, 400, 397)]
    assert tails.share == 1


SOME = st.sets(st.sampled_from(sorted(STATISTICS)))


@given(SOME, SOME, SOME, SOME, st.sampled_from([*FORMS, None]), st.booleans())
def test_each_thing_is_found_once_for_each_action_and_can_be_stored(
    atypical: set[str], suspected: set[str], left: set[str], doubted: set[str], form: str | None, told: bool
) -> None:
    parameters = {form: {"value": 1}} if form else {}
    one = Verdict(
        screening(*atypical, suspected=tuple(suspected - atypical)), (SIDE, SIDE), 1, parameters, told
    )
    after = screening(*left, suspected=tuple(doubted - left))
    for findings in (one.of_the_input(), one.of_the_result(after, ALL, EVERY)):
        assert len(set(named(findings))) == len(findings)
        assert named(findings) == sorted(
            named(findings), key=lambda pair: (list(Action).index(pair[1]), list(What).index(pair[0]))
        )
        for finding in findings:
            assert json.loads(json.dumps(finding.parameters)) == finding.parameters
    if not atypical and not suspected and not (form and told):
        assert one.of_the_input() == one.of_the_result(after, ALL, EVERY) == ()

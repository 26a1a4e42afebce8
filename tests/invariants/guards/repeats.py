"""I4: a serve whose answer was lost is found again, and a retry never pays twice."""

from tests.invariants.guards.guard import ONCE_TEST, PARAMETERS, PARAMETERS_TEST, TRANSACTION, Guard

GROUP_ADMISSION = "app/serving/group_admission.py"
SERVE_RECORDS = "app/serving/serve_records.py"

REPEATS_GUARDS = [
    Guard(
        "I4",
        "an earlier serve of a request is looked up",
        GROUP_ADMISSION,
        "keys = [pending.request_key for pending in requests if pending.progress.may_have_been_served]",
        "keys = []",
        f"{ONCE_TEST}::test_when_the_answer_of_commit_is_lost_the_ad_is_found_again",
    ),
    Guard(
        "I4",
        "the same request id with other parameters is a conflict",
        GROUP_ADMISSION,
        "if found[0].fingerprint != pending.fingerprint:",
        "if False:",
        f"{ONCE_TEST}::test_asked_again_it_is_the_same_ad_and_with_other_parameters_a_conflict",
    ),
    Guard(
        "I4",
        "an earlier serve is looked up again if there is no ad",
        TRANSACTION,
        "resolved.update(await self._admission.answer_repeats(refused))",
        "resolved.update(refused)",
        f"{ONCE_TEST}::test_asked_again_while_the_first_attempt_takes_the_last_room_it_is_the_same_ad",
    ),
    Guard(
        "I4",
        "a request is claimed on both sides of midnight",
        SERVE_RECORDS,
        "if _is_near_midnight(now):",
        "if False:",
        f"{ONCE_TEST}::test_two_workers_that_decide_one_request_at_once_pay_for_it_once",
    ),
    Guard(
        "I4",
        "a request id that many share counts as none",
        PARAMETERS,
        """    if is_shared_or_placeholder_id(value):
        return None
    if REQUEST_ID""",
        "    if REQUEST_ID",
        f"{PARAMETERS_TEST}::test_an_id_that_many_share_is_as_if_it_were_not_there",
    ),
]

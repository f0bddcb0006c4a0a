import pytest

from sentiment.runtime.schedule import rate_factor


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.5, 1, 1, 1, 1]), ("linear", [0.5, 1, 1, 0.75, 0.25]), ("cosine", [0.5, 1, 1, 0.8536, 0.1464])],
)
def test_the_learning_rate_warms_up_and_decays(schedule: str, expected: list[float]) -> None:
    found = [rate_factor(step, 6, 1 / 3, schedule) for step in (0, 1, 2, 3, 5)]
    assert found == pytest.approx(expected, abs=1e-4)

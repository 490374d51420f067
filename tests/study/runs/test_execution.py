import pytest
from pydantic import ValidationError

from dilated_ce.study.runs.settings import ExecutionConfig, minutes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partition": "gpu"}, "partition: got gpu, which is for engine: slurm, and the engine is"),
        (
            {"engine": "ray", "time": 9},
            "time: got 9, which is for engine: slurm",
        ),
        ({"engine": "slurm", "address": "auto"}, "which is for engine: ray"),
        ({"engine": "ray", "workers": 2}, "engine: local or slurm, .*Ray does as many runs"),
        ({"gpus_per_run": 1}, "which is for engine: ray or slurm"),
        ({"engine": "slurm", "gpus_per_run": 0.5}, "got 0.5, expected a whole number"),
        ({"engine": "slurm", "slurm": {"time": "1"}}, "got time, which is said by execution.time"),
        ({"engine": "slurm", "slurm": {"--mem": "1G"}}, "got mem, .* execution.memory"),
        (
            {"engine": "slurm", "slurm": {"job-name": "a"}},
            "job_name, which is chosen by",
        ),
        ({"engine": "slurm", "time": "12:00"}, "12 minutes and 0 seconds, .*write 12:00:00 or 12"),
        ({"engine": "slurm", "time": "soon"}, "got soon, expected minutes, or hours as 12:00:00"),
        ({"engine": "slurm", "time": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_of_another_engine(settings, message):
    with pytest.raises(ValidationError, match=message):
        ExecutionConfig(**settings)


@pytest.mark.parametrize(
    ("text", "number"), [("5", 5), ("0:05:30", 6), ("2-00:00:00", 2880), (" 72:00:00 ", 4320)]
)
def test_times(text, number):
    assert minutes(text) == number
    assert ExecutionConfig(engine="slurm", time=text).time == number

"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# A busy machine is slow now and then; that is no property of the code under test.
settings.register_profile(
    "culvert", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80
)
settings.load_profile("culvert")

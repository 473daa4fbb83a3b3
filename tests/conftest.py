"""Checked annotations, and Hypothesis profiles that do not depend on how busy the machine is."""

import jaxtyping
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

import tests.typechecking  # noqa: F401  (the hook looks it up by name)

install_import_hook(["theory", "models", "synthetic", "figures"], "tests.typechecking.typechecked")

settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("default")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Simulated floors are kept in a folder of the test run, and child processes find it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTRASTIVE_THEORY_CACHE", str(tmp_path_factory.mktemp("floors")))
        yield


@pytest.fixture
def as_users_call():
    """Annotations unchecked, as outside the tests: bad shapes and dtypes meet the functions' own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

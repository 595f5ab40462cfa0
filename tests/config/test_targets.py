import pytest

from inferometer.config.catalog.targets import catalog, partial_plan
from inferometer.config.flags import plan_from_flags
from inferometer.errors import UserError


@pytest.mark.parametrize("name", catalog())
def test_every_target_of_the_catalog_is_a_plan(name: str) -> None:
    plan = plan_from_flags({}, partial_plan(name))
    assert plan.target.name == name
    assert plan.engine is not None
    assert catalog()[name]["description"]


def test_the_catalog_outlives_what_is_put_over_it() -> None:
    plan_from_flags({"target.model": "changed", "seed": 9}, partial_plan("simulator"))
    assert plan_from_flags({}, partial_plan("simulator")).target.model is None


def test_a_name_nearly_right() -> None:
    with pytest.raises(UserError, match="did you mean 'simulator'"):
        partial_plan("simulater")
    with pytest.raises(UserError, match="known are simulator, smollm2"):
        partial_plan("xyz")

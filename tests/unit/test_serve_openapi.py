"""schemathesis over the endpoint's own OpenAPI: what fits it is answered as it says, what does not is refused."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from tests.endpoint import Scripted, endpoint
from tests.scripted import annotator

schemathesis.checks.load_all_checks()
schema = schemathesis.openapi.from_asgi("/openapi.json", endpoint(Scripted(annotator), insecure=True))
CHECKED = [check for check in CHECKS.get_all() if check.__name__ != "positive_data_acceptance"]
"""Rules between fields (`top_logprobs` needs `logprobs`) are not in the schema."""


@schema.parametrize()
@settings(
    max_examples=10,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_endpoint_does_what_its_openapi_says(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(checks=CHECKED)

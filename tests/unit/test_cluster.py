"""cluster.yaml is what `ray up` takes, and it says what the README says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8")))


def test_ray_accepts_the_cluster(cluster: dict[str, Any]) -> None:
    validate_config(json.loads(json.dumps(cluster)))


def test_rays_check_would_notice_a_wrong_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="Additional properties"):
        validate_config({**cluster, "max_wrokers": 3})


def test_inference_scales_from_zero_and_training_is_two_nodes_of_eight(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types["head"]["max_workers"] == 0 and types["head"]["resources"]["CPU"] == 0
    assert types["gpu_inference"]["min_workers"] == 0 < types["gpu_inference"]["max_workers"]
    assert types["gpu_train"]["max_workers"] == 2
    assert types["gpu_train"]["resources"]["GPU"] == 8
    assert types["gpu_train"]["node_config"]["InstanceType"].startswith("p4d")


def test_the_rays_of_cluster_and_package_are_the_same(cluster: dict[str, Any]) -> None:
    pin = next(line for line in (ROOT / "requirements/cpu.txt").read_text().splitlines() if line.startswith("ray=="))
    assert cluster["docker"]["image"].startswith(f"rayproject/ray:{pin.removeprefix('ray==')}-")

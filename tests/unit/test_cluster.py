"""cluster.yaml is what `ray up` takes, its image holds what was pinned, and both say what the guide says."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager
from ray._private.authentication.authentication_token_setup import _get_default_token_path
from ray.autoscaler._private.command_runner import _with_interactive
from ray.autoscaler._private.docker import docker_start_cmds
from ray.autoscaler._private.util import prepare_config, validate_config

from imageref_ray.core.config import BuildConfig, InstructConfig, TrainConfig, load

ROOT = Path(__file__).parents[2]
CLUSTER = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guides" / "cluster.md").read_text(encoding="utf-8")
COMMANDS = [
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return prepare_config(yaml.safe_load(CLUSTER))


@pytest.fixture(scope="module")
def base() -> dict[str, str]:
    """What the tag of the image's base says: Ray's version, Python's, CUDA's."""
    found = re.search(r"^FROM rayproject/ray:(?P<ray>[\d.]+)-py3(?P<python>\d+)-cu(?P<cuda>\d+)\d$", DOCKERFILE, re.M)
    assert found
    return found.groupdict()


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if not line.startswith("#"))


def container(cluster: dict[str, Any]) -> list[str]:
    """The words of the command with which Ray starts the container on a node."""
    docker = cluster["docker"]
    options, mounts = docker["run_options"], cluster["file_mounts"]
    return shlex.split(
        docker_start_cmds(
            "ubuntu", docker["image"], mounts, docker["container_name"], options, "imageref", "/home/ray", "docker"
        )
    )


def options(words: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(words) if option == name]


def test_ray_accepts_the_cluster(cluster: dict[str, Any]) -> None:
    validate_config(json.loads(json.dumps(cluster)))


def test_rays_check_would_notice_a_wrong_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="Additional properties"):
        validate_config({**cluster, "max_wrokers": 3})


@pytest.mark.parametrize("kind", COMMANDS)
def test_bash_can_read_every_command_as_ray_wraps_it(cluster: dict[str, Any], kind: str) -> None:
    for command in cluster[kind]:
        *_, wrapped = _with_interactive(command)
        subprocess.run(["bash", "-n", "-c", shlex.split(wrapped)[0]], check=True)


def test_inference_scales_from_zero_and_training_is_what_its_config_asks_for(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types["head"]["max_workers"] == 0 and types["head"]["resources"]["CPU"] == 0
    assert types["gpu_inference"]["min_workers"] == 0 < types["gpu_inference"]["max_workers"]
    training, node = load(TrainConfig, ROOT / "jobs/configs/cluster-train.yaml"), types["gpu_train"]
    there = node["resources"]
    assert node["node_config"]["InstanceType"] == "p4de.24xlarge"  # 80 GB; p4d has 40
    assert training.workers * training.gpus_per_worker == node["max_workers"] * there["GPU"]
    assert training.cpus_per_worker * there["GPU"] <= there["CPU"]


def test_the_training_nodes_have_the_name_that_ray_gives_their_gpus(cluster: dict[str, Any]) -> None:
    name = NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type("NVIDIA A100-SXM4-80GB")
    assert load(TrainConfig, ROOT / "jobs/configs/cluster-train.yaml").accelerator_type == name
    assert f"accelerator_type:{name}" in cluster["available_node_types"]["gpu_train"]["resources"]


def test_every_node_has_an_image_of_its_own_and_not_rays_old_default(cluster: dict[str, Any]) -> None:
    assert all("ImageId" in kind["node_config"] for kind in cluster["available_node_types"].values())
    assert cluster["provider"]["availability_zone"].startswith(cluster["provider"]["region"])


def test_what_has_to_be_set_is_marked_and_said_at_the_top() -> None:
    marked = {
        "region": r"region: .*",
        "zone": r"availability_zone: .*",
        "image": r"image: .*",
        "AMI": r"ImageId: .*",
        "file system": r"fs-.*",
    }
    lines = [line.strip() for line in CLUSTER.splitlines() if line.endswith("# SET")]
    assert len(lines) == len(marked)
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(marked.values(), lines, strict=True))
    header = CLUSTER.partition("\ncluster_name:")[0]
    assert "set the five lines marked SET" in header and "five lines marked SET" in GUIDE
    listed = " ".join(re.findall(r"^#   (\w.*?)  ", header, re.M))
    assert listed == "region, zone image AMI file system"


def test_ray_answers_nobody_without_the_token_that_every_node_gets(cluster: dict[str, Any]) -> None:
    words = container(cluster)
    assert "RAY_AUTH_MODE=token" in options(words, "-e")
    token = _get_default_token_path().relative_to(Path.home())  # where Ray looks for it
    assert any(mount.endswith(f":/home/ray/{token}") for mount in options(words, "-v"))
    assert cluster["file_mounts"] == {f"/home/ray/{token}": f"~/{token}"}
    assert "ray get-auth-token --generate" in CLUSTER and "ray get-auth-token --generate" in GUIDE


def test_the_dashboard_listens_on_its_own_machine_alone(cluster: dict[str, Any]) -> None:
    (start,) = [command for command in cluster["head_start_ray_commands"] if "ray start" in command]
    assert re.findall(r"--dashboard-host=(\S+)", start) == ["127.0.0.1"]


def test_models_and_runs_lie_where_the_containers_user_may_write(cluster: dict[str, Any]) -> None:
    words = container(cluster)
    assert "/mnt/shared:/mnt/shared" in options(words, "-v")
    assert "HF_HOME=/mnt/shared/huggingface" in options(words, "-e")
    (owner,) = set(re.findall(r"--chown=(\S+)", DOCKERFILE))
    before = cluster["initialization_commands"]
    (mounted,) = [number for number, command in enumerate(before) if "mount -t nfs4" in command]
    assert f"sudo chown {owner} /mnt/shared" in before[mounted:]


def test_a_stopped_job_has_time_to_finish_what_is_in_flight(cluster: dict[str, Any]) -> None:
    (wait,) = [int(e.partition("=")[2]) for e in options(container(cluster), "-e") if "JOB_STOP_WAIT_TIME_S" in e]
    for config in (BuildConfig, InstructConfig):
        assert wait >= 60 * config.model_fields["stall_minutes"].default


def test_a_node_installs_nothing_of_python(cluster: dict[str, Any]) -> None:
    assert not [command for kind in COMMANDS for command in cluster[kind] if re.search(r"\b(pip|uv|conda)\b", command)]


def test_the_image_is_the_one_that_the_docs_build(cluster: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    image = cluster["docker"]["image"]
    assert image.endswith(f"/imageref-ray:{project['version']}")
    build = f"docker build -f deploy/Dockerfile -t {image} ."
    assert build in DOCKERFILE and build in GUIDE
    assert f"docker push {image}" in DOCKERFILE and f"docker push {image}" in GUIDE


def test_the_images_cuda_is_that_of_the_pinned_torch(base: dict[str, str]) -> None:
    gpu = pins("gpu.txt")
    majors = {gpu["cuda-toolkit"].partition(".")[0]}
    majors |= {found[1] for name in gpu if (found := re.fullmatch(r"nvidia-(?:cudnn|nccl)-cu(\d+)", name))}
    assert majors == {base["cuda"]}


def test_the_images_ray_and_python_are_those_of_the_pins(base: dict[str, str]) -> None:
    assert {base["ray"]} == {pins(name)["ray"] for name in ("cpu.txt", "gpu.txt")}
    wanted = re.findall(r"--python-version 3\.(\d+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert set(wanted) == {base["python"]}


def test_what_the_package_names_is_of_one_version_on_cpus_and_gpus() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["gpu"]
    names = {found[0] for line in asked if (found := re.match(r"[\w-]+", line))}
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    assert names <= set(gpu)
    assert {name: gpu[name] for name in names & set(cpu)} == {name: cpu[name] for name in names & set(cpu)}


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    return subprocess.run([program, "--no-color", "-"], input=text, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing_in_the_dockerfile_and_would_in_another() -> None:
    assert hadolint(DOCKERFILE).stdout == ""
    assert "DL3042" in hadolint(DOCKERFILE.replace("--no-cache-dir ", "")).stdout


def test_all_that_the_image_copies_is_there_and_not_ignored() -> None:
    copied = [
        source for line in re.findall(r"^COPY --chown=\S+ (.*) \S+$", DOCKERFILE, re.M) for source in line.split()
    ]
    kept = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{source}" for source in copied} == {line for line in kept if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)

"""azd finds what it looks for: the service, its templates, their parameters."""

import json
import re
from typing import Any

import yaml

from tests.infra.bicep import FOLDER, ROOT, read

PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text())
BICEPPARAM = (FOLDER / "api.bicepparam").read_text()


def test_azure_yaml_has_only_keys_that_azd_knows() -> None:
    (service,) = PROJECT["services"].values()

    # From azd's schema, https://raw.githubusercontent.com/Azure/azure-dev/main/schemas/v1.0/azure.yaml.json
    assert set(PROJECT) <= {
        "name",
        "resourceGroup",
        "metadata",
        "infra",
        "services",
        "pipeline",
        "hooks",
        "requiredVersions",
    }
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", PROJECT["name"])
    assert set(PROJECT["infra"]) <= {"provider", "path", "module"}
    assert set(service) <= {"project", "language", "host", "apiVersion", "docker", "env", "hooks", "module"}
    assert set(service["docker"]) <= {
        "path",
        "context",
        "platform",
        "buildArgs",
        "remoteBuild",
        "image",
        "tag",
        "registry",
    }


def test_the_templates_lie_where_azure_yaml_says() -> None:
    (name,) = PROJECT["services"]
    folder = ROOT / PROJECT["infra"]["path"]

    assert (folder / f"{PROJECT['infra']['module']}.bicep").is_file()
    assert (folder / f"{PROJECT['infra']['module']}.parameters.json").is_file()
    # These two make `azd deploy` apply the service's own template instead of changing the image alone.
    assert (folder / f"{name}.bicep").is_file()
    assert (folder / f"{name}.bicepparam").is_file()
    assert (ROOT / PROJECT["services"][name]["docker"]["path"]).is_file()


def test_the_service_is_the_container_app_that_bears_its_tag() -> None:
    ((name, service),) = PROJECT["services"].items()
    api = read(FOLDER / "api.bicep")
    (app,) = read(FOLDER / "modules/app.bicep").of_type("Microsoft.App/containerApps")

    assert service["host"] == "containerapp"
    assert api.variables["tags"]["'azd-service-name'"] == name
    assert app.config["tags"] == api.modules["app"].params["tags"] == "tags"
    assert str(service["apiVersion"]) == app.api_version


def test_main_takes_exactly_the_parameters_of_its_file_and_what_it_must_have() -> None:
    main = read(FOLDER / "main.bicep")
    given = json.loads((FOLDER / "main.parameters.json").read_text())["parameters"]

    assert main.required() <= set(given) <= set(main.parameters)
    for name, parameter in given.items():
        default = re.fullmatch(r"\$\{[A-Z_]+(?:=(.*))?\}", parameter["value"])
        assert default
        if default[1] is not None:
            assert default[1] == json.dumps(main.parameters[name]["default"]).strip('"')


def test_the_app_takes_every_parameter_but_its_region_from_the_environment_with_the_same_defaults() -> None:
    api = read(FOLDER / "api.bicep")
    given = dict(re.findall(r"^param (\w+) = (.+)$", BICEPPARAM, re.MULTILINE))

    assert set(given) == set(api.parameters) - {"location", "terminationGracePeriodSeconds"}
    for name, value in given.items():
        variable = re.search(r"readEnvironmentVariable\('([A-Z_]+)'(?:, '(.*)')?\)", value)
        assert variable
        default = api.parameters[name]["default"]
        if default is None:
            assert variable[2] is None
        else:
            assert variable[2] == (default if isinstance(default, str) else json.dumps(default))


def test_outputs_are_those_that_azd_reads() -> None:
    (name,) = PROJECT["services"]
    main, api = read(FOLDER / "main.bicep").outputs, read(FOLDER / "api.bicep").outputs

    assert {"AZURE_RESOURCE_GROUP", "AZURE_LOCATION", "AZURE_CONTAINER_REGISTRY_ENDPOINT"} <= set(main)
    assert {f"SERVICE_{name.upper()}_NAME", f"SERVICE_{name.upper()}_URI"} == set(api)


def test_the_resource_group_bears_the_tag_by_which_azd_finds_it() -> None:
    main = read(FOLDER / "main.bicep")

    assert main.variables["tags"] == {"'azd-env-name'": "environmentName"}
    assert main.resources["group"].config["tags"] == "tags"

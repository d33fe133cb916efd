"""The templates hang together and give away nothing."""

import json
import re
from pathlib import Path

import pytest

from tests.infra.bicep import FILES, FOLDER, read

MAIN = read(FOLDER / "main.bicep")
API = read(FOLDER / "api.bicep")
STORAGE = read(FOLDER / "modules/storage.bicep")

#: Built-in roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "acrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "monitoringMetricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "storageBlobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "storageBlobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "storageQueueDataContributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "storageTableDataContributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
}


def file_name(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("path", FILES, ids=file_name)
def test_modules_are_given_what_they_ask_for_and_nothing_else(path: Path) -> None:
    for module in read(path).modules.values():
        asked = read(module.path)

        assert asked.required() <= set(module.params) <= set(asked.parameters)


@pytest.mark.parametrize("path", FILES, ids=file_name)
def test_outputs_that_are_used_exist(path: Path) -> None:
    template = read(path)

    for module, output in re.findall(r"\b(\w+)\.outputs\.(\w+)", path.read_text()):
        assert output in read(template.modules[module].path).outputs


@pytest.mark.parametrize("path", FILES, ids=file_name)
def test_every_parameter_variable_and_existing_resource_is_used(path: Path) -> None:
    template = read(path)
    existing = [name for name, resource in template.resources.items() if resource.existing]

    for name in [*template.parameters, *template.variables, *existing]:
        assert len(re.findall(rf"\b{name}\b", path.read_text())) > 1, name


def test_every_module_is_deployed_by_main_or_by_the_app() -> None:
    used = {module.path for template in (MAIN, API) for module in template.modules.values()}

    assert used == set((FOLDER / "modules").glob("*.bicep"))


def test_both_deployments_name_resources_alike() -> None:
    names = json.loads((FOLDER / "names.json").read_text())
    in_main = {*re.findall(r"'\$\{prefix\.(\w+)\}\$\{token\}'", (FOLDER / "main.bicep").read_text())}
    in_api = {*re.findall(r"'\$\{prefix\.(\w+)\}\$\{token\}'", (FOLDER / "api.bicep").read_text())}

    assert in_api - {"app", "host"} <= in_main
    assert in_main | in_api == set(names)
    # The group's name is lower-cased in both: Azure returns it as the caller spelt it.
    assert (
        "uniqueString(subscription().subscriptionId, toLower(resourceGroupName))" in (FOLDER / "main.bicep").read_text()
    )
    assert (
        "uniqueString(subscription().subscriptionId, toLower(resourceGroup().name))"
        in (FOLDER / "api.bicep").read_text()
    )


def test_names_keep_within_the_limits_of_their_resources() -> None:
    names = json.loads((FOLDER / "names.json").read_text())
    token = "a" * 13  # the length of uniqueString()

    assert re.fullmatch(r"[a-z0-9]{3,24}", names["storage"] + token)
    assert re.fullmatch(r"[a-zA-Z0-9]{5,50}", names["registry"] + token)
    assert re.fullmatch(r"[a-z][a-z0-9-]{1,30}[a-z0-9]", names["app"] + token)
    # Longer host ids are cut off by the Functions host, and then two apps could share one.
    assert re.fullmatch(r"[a-z0-9-]{1,32}", names["host"] + token)


def test_roles_are_the_built_in_ones_and_each_is_assigned() -> None:
    roles = read(FOLDER / "modules/roles.bicep")

    assert {name: value for name, value in roles.variables.items() if isinstance(value, str)} == ROLES
    assert roles.variables["appStorageRoles"] == [
        "storageBlobDataOwner",
        "storageQueueDataContributor",
        "storageTableDataContributor",
    ]


def test_roles_are_granted_on_single_resources() -> None:
    assignments = [
        (path, resource) for path in FILES for resource in read(path).of_type("Microsoft.Authorization/roleAssignments")
    ]

    assert {file_name(path) for path, _ in assignments} == {"modules/roles.bicep"}
    assert {resource.config["scope"] for _, resource in assignments} == {
        "insights",
        "registry",
        "storage",
        "containers[i]",
    }


def test_the_operator_reads_and_writes_batches_and_models_but_not_the_function_keys() -> None:
    reached = set(read(FOLDER / "modules/roles.bicep").variables["operatorContainers"])

    assert set(STORAGE.variables["containers"]) - reached == {"azure-webjobs-hosts", "azure-webjobs-secrets"}


def test_storage_has_no_keys_no_public_blobs_and_modern_tls() -> None:
    (account,) = STORAGE.of_type("Microsoft.Storage/storageAccounts")

    properties = account.config["properties"]
    assert properties["allowSharedKeyAccess"] is False
    assert properties["allowBlobPublicAccess"] is False
    assert properties["allowCrossTenantReplication"] is False
    assert properties["supportsHttpsTrafficOnly"] is True
    assert properties["minimumTlsVersion"] == "TLS1_2"
    (container,) = STORAGE.of_type("Microsoft.Storage/storageAccounts/blobServices/containers")
    assert container.config["properties"]["publicAccess"] == "None"


def test_registry_and_telemetry_have_no_keys_either() -> None:
    (registry,) = read(FOLDER / "modules/registry.bicep").of_type("Microsoft.ContainerRegistry/registries")
    monitoring = read(FOLDER / "modules/monitoring.bicep")
    (insights,) = monitoring.of_type("Microsoft.Insights/components")
    (workspace,) = monitoring.of_type("Microsoft.OperationalInsights/workspaces")

    assert registry.config["properties"] == {"adminUserEnabled": False, "anonymousPullEnabled": False}
    assert insights.config["properties"]["DisableLocalAuth"] is True
    assert insights.config["properties"]["WorkspaceResourceId"] == "workspace.id"
    assert workspace.config["properties"]["features"]["disableLocalAuth"] is True


@pytest.mark.parametrize("path", [*FILES, FOLDER / "api.bicepparam"], ids=file_name)
def test_no_file_reads_holds_or_hands_out_a_secret(path: Path) -> None:
    code = re.sub(r"^\s*//.*$|@description\(.*\)", "", path.read_text(), flags=re.MULTILINE)

    assert not re.search(
        r"listKeys|listCredentials|listAccountSas|listServiceSas|sharedKey\b|AccountKey=|password", code
    )
    assert not re.search(r"^output \w*(key|secret|connection|token)", code, re.IGNORECASE | re.MULTILINE)
    assert "keyVaultUrl" not in code


def test_the_key_of_callbacks_stays_a_secret_on_its_whole_way() -> None:
    code = (FOLDER / "api.bicep").read_text()

    assert re.search(r"@secure\(\)\nparam callbackSecret string = ''\n", code)
    # The one value made of it reaches the modules that make the app, within `configuration`.
    for module in ("creation", "app"):
        assert API.modules[module].params["configuration"] == "configuration"
        assert "@secure()\nparam configuration object\n" in (FOLDER / f"modules/{module}.bicep").read_text()
    assert re.findall(r".*\bcallbackSecret\b.*", code.partition("param callbackSecret")[2]) == [
        "var isSigned = !empty(callbackSecret)",
        "  { name: callbackSecretName, value: callbackSecret }",
    ]
    assert API.variables["configuration"]["secrets"] == "secrets"
    assert re.findall(r".*\bsecrets\b.*", code.partition("var secrets")[2]) == ["  secrets: secrets"]


def test_container_apps_sees_no_list_that_is_still_an_expression() -> None:
    # The check before a deployment refuses an app in which `env` is `[concat(…reference(…)…)]` instead of a list
    # (microsoft/azure-container-apps#391). Parameters of a module are known by the time its resources are checked.
    apps = [(path, app) for path in FILES for app in read(path).of_type("Microsoft.App/containerApps")]

    assert {file_name(path) for path, _ in apps} == {"modules/app.bicep", "modules/creation.bicep"}
    for path, app in apps:
        properties = app.config["properties"]
        assert {properties["configuration"], properties["template"]["containers"]} <= set(read(path).parameters)
        assert not read(path).variables


@pytest.mark.parametrize("path", FILES, ids=file_name)
def test_preview_versions_are_used_only_where_nothing_else_will_do(path: Path) -> None:
    previews = {
        f"{resource.type}@{resource.api_version}"
        for resource in read(path).resources.values()
        if resource.api_version.endswith("-preview")
    }

    assert previews <= {
        "Microsoft.Insights/diagnosticSettings@2021-05-01-preview",  # has never had a stable version with these fields
    }


def test_the_windows_of_the_log_alert_overlap() -> None:
    # A log line can be queried minutes after its time: in windows that only touch, one near an end is never seen.
    (rule,) = read(FOLDER / "modules/alerts.bicep").of_type("Microsoft.Insights/scheduledQueryRules")
    frequency, window = (
        int(re.fullmatch(r"PT(\d+)M", rule.config["properties"][name])[1])  # type: ignore[index]
        for name in ("evaluationFrequency", "windowSize")
    )

    assert window >= frequency + 10

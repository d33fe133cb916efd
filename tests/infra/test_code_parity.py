"""What the code names exists in Azure, and what is made in Azure is named by the code."""

import functools
import importlib.util
import json
import re
from typing import Any

from inference.batch.layout import WORK_QUEUES, ContainerName, QueueName, poison
from inference.settings import Settings, declared
from tests.infra.bicep import FOLDER, ROOT, read

API = read(FOLDER / "api.bicep")
STORAGE = read(FOLDER / "modules/storage.bicep")
HOST = json.loads((ROOT / "host.json").read_text())
IMAGE_REPOSITORY = "/home/site/wwwroot/samples/models"

#: Containers that no line of this project names.
HOST_CONTAINERS = {"azure-webjobs-hosts", "azure-webjobs-secrets"}

#: Settings of the platform and its libraries that Bicep gives.
PLATFORM_SETTINGS = {
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "AzureWebJobsSecretStorageType",
    "AzureFunctionsWebHost__hostid",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "PYTHON_ENABLE_OPENTELEMETRY",
    "OTEL_SERVICE_NAME",
}

#: Settings of the code that Bicep leaves out, and why.
LEFT_OUT = {
    "AzureWebJobsStorage": "a connection string is a key; Azure uses an identity",
    "AzureWebJobsStorage__blobServiceUri": "follows from the account's name",
    "AzureWebJobsStorage__queueServiceUri": "follows from the account's name",
}


def platform_settings() -> dict[str, str]:
    return {setting["name"]: setting["value"] for setting in API.variables["platformSettings"]}


def secret_settings() -> dict[str, str]:
    """Settings that refer to a secret of the app, which they do only where that secret is given."""
    text = (FOLDER / "api.bicep").read_text()
    block = text.partition("var secretSettings = isSigned ? [")[2].partition("] : []")[0]
    return dict(re.findall(r"{ name: '(\w+)', secretRef: (\w+) }", block))


def inference_settings() -> dict[str, str]:
    values: dict[str, str] = json.loads((FOLDER / "settings.json").read_text())
    return values


def bindings(type_: str) -> list[dict[str, Any]]:
    """The input bindings of one type that function_app.py declares."""
    return [binding for function in functions() for binding in function["bindings"] if binding["type"] == type_]


@functools.cache
def functions() -> list[dict[str, Any]]:
    """function.json of every function, from a copy of the module: an app can be indexed only once."""
    spec = importlib.util.spec_from_file_location("indexed_function_app", ROOT / "function_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [json.loads(function.get_function_json()) for function in module.app.get_functions()]


def test_every_queue_of_the_code_is_made_and_no_other() -> None:
    poisons = [poison(queue) for queue in WORK_QUEUES]

    assert sorted(STORAGE.variables["queues"]) == sorted([*QueueName, *poisons])


def test_every_queue_that_triggers_a_function_is_made_with_its_poison_partner() -> None:
    triggers = {binding["queueName"] for binding in bindings("queueTrigger")}

    assert triggers
    for queue in triggers:
        assert queue in STORAGE.variables["queues"]
        assert queue.endswith("-poison") or poison(queue) in STORAGE.variables["queues"]


def test_every_container_of_the_code_and_of_the_host_is_made_and_no_other() -> None:
    # `models` is where a model repository in blobs lives: INFERENCE_MODEL_REPOSITORY names it by url.
    assert set(STORAGE.variables["containers"]) == {*ContainerName, "models"} | HOST_CONTAINERS


def test_every_setting_of_the_code_is_given_or_left_out_for_a_reason() -> None:
    given = set(platform_settings()) | set(inference_settings()) | set(secret_settings())
    names = {setting.name for setting in declared()}

    assert names - given == set(LEFT_OUT)
    assert given - names == PLATFORM_SETTINGS


def test_the_key_of_callbacks_refers_to_the_secret_of_the_app() -> None:
    assert secret_settings() == {"INFERENCE_CALLBACK_SECRET": "callbackSecretName"}


def test_settings_mean_what_the_code_defaults_to_but_for_what_is_there_already() -> None:
    settings = Settings.from_env(inference_settings())

    # Models lie in the image; queues and containers are the deployment's.
    there = {"INFERENCE_MODEL_REPOSITORY": IMAGE_REPOSITORY, "INFERENCE_PREPARE_STORAGE": "false"}
    assert settings == Settings.from_env(there)


def test_the_host_reaches_storage_and_telemetry_with_the_identity() -> None:
    settings = platform_settings()

    assert settings["AzureWebJobsStorage__credential"] == "managedidentity"
    assert settings["AzureWebJobsStorage__clientId"] == "identity.properties.clientId"
    assert settings["AzureWebJobsStorage__accountName"] == "storage.name"
    assert settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"].endswith(";Authorization=AAD")
    # The worker leaves telemetry to the app only together with the host's own switch.
    assert settings["PYTHON_ENABLE_OPENTELEMETRY"] == "true"
    assert HOST["telemetryMode"] == "OpenTelemetry"


def test_probes_ask_routes_that_anybody_may_get() -> None:
    prefix = HOST["extensions"]["http"]["routePrefix"]
    open_routes = {
        f"/{prefix}/{binding['route']}"
        for binding in bindings("httpTrigger")
        if binding["authLevel"] == "ANONYMOUS" and "GET" in binding["methods"]
    }
    (container,) = API.variables["containers"]
    probes = {probe["type"]: probe["httpGet"] for probe in container["probes"]}

    assert {type_: probe["path"] for type_, probe in probes.items()} == {
        "Startup": "/api/health",
        "Liveness": "/api/health",
        "Readiness": "/api/ready",
    }
    assert {probe["path"] for probe in probes.values()} <= open_routes
    assert {probe["port"] for probe in probes.values()} == {API.variables["configuration"]["ingress"]["targetPort"]}


def test_every_queue_that_triggers_a_function_scales_the_app_by_the_messages_a_replica_takes() -> None:
    rule = API.variables["queueRules"]["config"]

    # Poison queues among them: a message that its function could not take yet would else find no replica.
    assert sorted(API.variables["scaledQueues"]) == sorted(binding["queueName"] for binding in bindings("queueTrigger"))
    assert rule["custom"]["type"] == "azure-queue"
    assert rule["custom"]["identity"] == "identity.id"
    assert rule["custom"]["metadata"]["queueName"] == "queue"
    assert "loadJsonContent('../../host.json').extensions.queues.batchSize" in (FOLDER / "api.bicep").read_text()
    assert HOST["extensions"]["queues"]["batchSize"] >= 1


def test_own_rules_come_with_the_override_and_platform_rules_with_none() -> None:
    (app,) = read(FOLDER / "modules/app.bicep").of_type("Microsoft.App/containerApps")
    scale = API.variables["scale"]

    assert app.config["kind"] == "functionapp"
    assert app.config["properties"]["template"]["scale"] == API.modules["app"].params["scale"] == "scale"
    assert scale["allowScalingRuleOverride"] == "ownRules"
    choice = scale["rules"]["operator"]["operands"]
    assert (choice["condition"], choice["false_value"]) == ("ownRules", [])


def test_the_app_is_made_without_rules_before_it_is_given_its_own() -> None:
    creation = read(FOLDER / "modules/creation.bicep")
    (first,) = creation.of_type("Microsoft.App/containerApps")
    (app,) = read(FOLDER / "modules/app.bicep").of_type("Microsoft.App/containerApps")

    # Without the decorator every deployment would take the rules away for as long as it lasts.
    text = (FOLDER / "modules/creation.bicep").read_text()
    assert re.search(r"^@onlyIfNotExists\(\)\nresource app ", text, re.MULTILINE)
    assert API.modules["app"].params["name"] == "creation.outputs.name"
    assert "scale" not in first.config["properties"]["template"]
    for key in ("kind", "identity"):
        assert first.config[key] == app.config[key]


def test_retention_covers_what_batches_write_and_never_the_models() -> None:
    (policy,) = STORAGE.of_type("Microsoft.Storage/storageAccounts/managementPolicies")
    (rule,) = policy.config["properties"]["policy"]["rules"]

    assert set(rule["definition"]["filters"]["prefixMatch"]) == {f"{container}/" for container in ContainerName}

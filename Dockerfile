# The Functions host with Python 3.13 (amd64 only). For a build that can be repeated, pin the moving tag by its digest:
#   docker buildx imagetools inspect mcr.microsoft.com/azure-functions/python:4-python3.13
#   docker build --build-arg TAG=4-python3.13@sha256:... .
# It runs as root on port 80, as Microsoft ships it: other users are not supported (Azure/azure-functions-docker#424).
ARG TAG=4-python3.13
FROM mcr.microsoft.com/azure-functions/python:${TAG}

ENV AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    INFERENCE_MODEL_REPOSITORY=/home/site/wwwroot/samples/models

# At SIGTERM the host takes no more messages. It waits 30 s, not the default of 5, for requests under way; for messages always 10 s.
ENV FUNCTIONS_ENABLE_DRAIN_ON_APP_STOPPING=true \
    ASPNETCORE_SHUTDOWNTIMEOUTSECONDS=30

# Where every version of the Functions worker looks first for an app's packages. In Python's own folder, those before
# Azure/azure-functions-python-worker#1833 prefer what they bring themselves: an azure-functions-runtime that fails each call of
# an app with OpenTelemetry (#1881), and a protobuf that breaks the worker when the app imports it (Azure/azure-functions-docker#1247).
ENV PYTHONPATH=/home/site/wwwroot/.python_packages/lib/site-packages

# An image does not change: the host need not watch each folder of these packages.
ENV AzureFunctionsJobHost__fileWatchingEnabled=false

# What changes least comes first, so that a change of code rebuilds a layer of a few kilobytes.
COPY requirements.txt /requirements.txt
RUN python -m pip install --disable-pip-version-check --no-cache-dir --require-hashes --only-binary :all: \
        --target /home/site/wwwroot/.python_packages/lib/site-packages -r /requirements.txt

COPY scripts/start-host /opt/startup/start-host
COPY samples/models/ /home/site/wwwroot/samples/models/
COPY function_app.py host.json /home/site/wwwroot/
COPY inference/ /home/site/wwwroot/inference/
RUN python -m compileall -q /home/site/wwwroot/function_app.py /home/site/wwwroot/inference

EXPOSE 80
CMD ["bash", "/opt/startup/start-host"]

# For docker and compose; Container Apps has its own probes (infra/bicep/api.bicep).
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost/api/health', timeout=5)"]

"""The smallest function app that scores, as the documentation of Azure Functions for Python shows one: a model that is
loaded at import, and one route. The local host runs it, as it runs this service.
"""

import json

import azure.functions as func
from pipeline import Pipeline

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
pipeline = Pipeline()


@app.route("score", methods=["POST"])
def score(req: func.HttpRequest) -> func.HttpResponse:
    predictions = pipeline.score(req.get_body())
    return func.HttpResponse(json.dumps({"predictions": predictions}), mimetype="application/json")

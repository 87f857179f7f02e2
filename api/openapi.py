"""Routes `/openapi.json`, generated from the code, and `/docs`, a page to try the API.

The page also works offline.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Response, current_app, jsonify, send_from_directory
from flask_openapi3 import APIBlueprint, Info, License, OpenAPI, Tag

from api.headers import DOCS_POLICY
from api.schema import ANY_OBJECT, QUERY, ErrorAnswer
from settings import VERSION

_SWAGGER = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
_WEB = Path(__file__).resolve().parents[1] / "web"

_ABOUT = """\
Post a photo of a car, and get its body type and its parts as polygons.

Processing takes a moment: post a photo, poll its status, fetch the result. `POST /` with `wait` is
all three in one. Every error is `{"error": "..."}`, with a sentence for people. After an answer 429
or 503, try again after the seconds in `Retry-After`."""

# Meanings of HTTP statuses in this API.
_MEANINGS = {
    "202": "The photo has not ended yet; Location has the address of its status",
    "204": "Deleted",
    "302": "To the page /ui, for browsers",
    "400": "The request, the photo or an option can't be used, or the result is not ready yet",
    "403": "A page of an origin that may not post made a browser send the request",
    "404": "There is no such photo or part, or the photo ended in Error",
    "413": "Too many bytes, pixels or photos",
    "415": "The format or content type is not supported",
    "500": "A fault of the service; its log has the details",
    "503": "The queue is full, or the service stops; Retry-After says when to try again",
    "507": "The disk of the service is full",
}


class ApiBlueprint(APIBlueprint):
    """A group of routes under one tag; the name of a view is its operation id."""

    def __init__(self, name: str, import_name: str, about: str) -> None:
        """Create the group; `about` describes it to people."""
        super().__init__(
            name,
            import_name,
            abp_tags=[Tag(name=name, description=about)],
            operation_id_callback=lambda *, name, path, method: name,
        )


blueprint = ApiBlueprint("openapi", __name__, "this document")


class OpenApiApp(OpenAPI):
    """A Flask app that describes its routes in OpenAPI.

    The pages of flask-openapi3 and Flask's static files are off.
    """

    def __init__(self, import_name: str) -> None:
        super().__init__(
            import_name,
            info=Info(
                title="Car segmentation",
                version=VERSION,
                summary="Body type and parts of the car in a photo",
                description=_ABOUT,
                license=License(name="MIT", identifier="MIT"),
            ),
            validation_error_model=ErrorAnswer,
            doc_ui=False,
            static_folder=None,
        )
        self.json.sort_keys = False  # type: ignore[attr-defined]

    def generate_spec_json(self) -> None:
        """Build the document.

        It has the query parameters, and not the 422 that the library adds and no route returns.
        """
        super().generate_spec_json()
        for _, _, operation in each_operation(self.spec_json):
            operation["responses"].pop(self.validation_error_status)
            operation["description"] = operation["description"].replace("<br/>", "\n")
            for status, answer in operation["responses"].items():
                answer["description"] = _MEANINGS.get(status, answer["description"])
            if QUERY in operation:  # the library replaces `parameters` by those of the path
                operation.setdefault("parameters", []).extend(operation.pop(QUERY))
        if self.spec_json["components"].get("securitySchemes") is None:
            self.spec_json["components"].pop("securitySchemes", None)  # null is not allowed there


@blueprint.get("/openapi.json", summary="Get this document", responses={200: ANY_OBJECT})
def openapi() -> Response:
    """Return the description of the API, generated from the code."""
    document: dict[str, Any] = current_app.api_doc  # type: ignore[attr-defined]
    return jsonify(document)


# Plain Flask rules keep the pages for people out of the document.
@blueprint.route("/docs")
def docs() -> Response:
    """Return the page."""
    return _file(_WEB, "docs.html")


@blueprint.route("/docs/start.js")
def docs_start() -> Response:
    """Return the script of the page."""
    return _file(_WEB, "docs.js")


@blueprint.route("/docs/swagger/<path:name>")
def docs_file(name: str) -> Response:
    """Return a file of Swagger UI."""
    return _file(_SWAGGER, name)


def _file(folder: Path, name: str) -> Response:
    response = send_from_directory(folder, name)
    response.headers["Content-Security-Policy"] = DOCS_POLICY
    return response


def register_docs(app: OpenApiApp) -> None:
    """Add the description of all routes. Call this after all other routes are registered."""
    app.register_api(blueprint)
    app.generate_spec_json()  # now, while only one thread runs


def each_operation(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the Flask route, the method in capitals and the description of each operation."""
    for path, operations in document["paths"].items():
        route = path.replace("{", "<").replace("}", ">")
        for method, operation in operations.items():
            yield route, method.upper(), operation


def add_error(operation: dict[str, Any], status: int, description: str) -> None:
    """Add an error answer to the description of an operation."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    operation["responses"][str(status)] = {"description": description, "content": content}

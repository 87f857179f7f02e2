"""Routes `/openapi.json`, generated from the code, and `/docs`, a page to try the API.

The page also works offline.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Response, jsonify, send_from_directory
from flask_openapi3 import Info, OpenAPI

from api.schema import ANY_OBJECT, ErrorAnswer

_SWAGGER = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
_WEB = Path(__file__).resolve().parents[1] / "web"


# Swagger UI needs inline styles, and data: for the icons in its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class OpenApiApp(OpenAPI):
    """A Flask app that describes its routes in OpenAPI.

    The pages of flask-openapi3 and Flask's static files are off.
    """

    def __init__(self, import_name: str, *, title: str, version: str) -> None:
        super().__init__(
            import_name,
            info=Info(title=title, version=version),
            operation_id_callback=lambda *, name, path, method: name,
            validation_error_model=ErrorAnswer,
            doc_ui=False,
            static_folder=None,
        )

    def generate_spec_json(self) -> None:
        """Build the document without the 422 that the library adds and no route returns."""
        super().generate_spec_json()
        for operations in self.spec_json["paths"].values():
            for operation in operations.values():
                operation["responses"].pop(self.validation_error_status)
        if self.spec_json["components"].get("securitySchemes") is None:
            self.spec_json["components"].pop("securitySchemes", None)  # null is not allowed there


def add_docs(app: OpenApiApp) -> None:
    """Add both routes. Call this after all other routes are added."""

    @app.get("/openapi.json", summary="This document", responses={200: ANY_OBJECT})
    def openapi() -> Response:
        """Return the description of the API, generated from the code."""
        return jsonify(app.api_doc)

    # Plain Flask rules keep the pages for people out of the document.
    app.add_url_rule("/docs", "docs", lambda: _file(_WEB, "docs.html"))
    app.add_url_rule("/docs/start.js", "docs_start", lambda: _file(_WEB, "docs.js"))
    app.add_url_rule("/docs/swagger/<path:name>", "docs_files", lambda name: _file(_SWAGGER, name))
    app.generate_spec_json()  # now, while only one thread runs


def _file(folder: Path, name: str) -> Response:
    response = send_from_directory(folder, name)
    response.headers["Content-Security-Policy"] = _POLICY
    return response


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

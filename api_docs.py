"""`/openapi.json`, generated from the routes, and `/docs`, a page to try them, also offline."""

from __future__ import annotations

from pathlib import Path

import flask_openapi3_swagger
from flask import Response, jsonify, send_from_directory
from flask_openapi3 import Info, OpenAPI

from schema import ANY_OBJECT, ErrorAnswer

_SWAGGER = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
_WEB = Path(__file__).resolve().parent / "web"


class Api(OpenAPI):
    """A Flask app that describes its routes; its own pages and static files are off."""

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
        """Build the document, without the answer 422 that the library adds and no route gives."""
        super().generate_spec_json()
        for operations in self.spec_json["paths"].values():
            for operation in operations.values():
                operation["responses"].pop(self.validation_error_status)


def add_docs(app: Api) -> None:
    """Add both addresses; call it after all other routes."""

    @app.get("/openapi.json", summary="This document", responses={200: ANY_OBJECT})
    def openapi() -> Response:
        """The description of the API, generated from the code."""
        return jsonify(app.api_doc)

    # Plain Flask rules: pages for people are not part of the document.
    app.add_url_rule("/docs", "docs", lambda: send_from_directory(_WEB, "docs.html"))
    app.add_url_rule("/docs/start.js", "docs_start", lambda: send_from_directory(_WEB, "docs.js"))
    app.add_url_rule(
        "/docs/swagger/<path:name>", "docs_files", lambda name: send_from_directory(_SWAGGER, name)
    )
    app.generate_spec_json()  # now, while there is one thread

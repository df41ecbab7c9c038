"""The OpenAPI document names each route of the API, and what each takes."""

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from handler.console.orders import DropOrder, ReplayOrder
from handler.console.web.app import routes
from handler.console.web.openapi import OPERATIONS, document
from handler.console.web.site import make_site
from handler.settings import Settings
from tests.console_browser import Browser


def test_every_route_of_the_api_is_in_the_document_and_no_other(settings: Settings) -> None:
    """The document has the routes that the application serves, with their methods."""
    served = {
        (method.lower(), route.path)
        for route in routes(make_site(settings))
        if route.path.startswith("/api/")
        for method in (route.methods or set()) - {"HEAD"}
    }

    assert served == set(OPERATIONS)
    assert served == {(method, path) for path, item in document()["paths"].items() for method in item}


def test_the_document_is_served(browser: Browser) -> None:
    """Programs read the document from the console itself."""
    assert document() == browser.json("/api/openapi.json")


def test_every_parameter_of_a_path_is_declared() -> None:
    """Each name in braces is a required parameter in the path."""
    for path, item in document()["paths"].items():
        for operation in item.values():
            declared = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert re.findall(r"{(\w+)}", path) == declared


@pytest.mark.parametrize("model", [ReplayOrder, DropOrder])
def test_the_schemas_of_the_bodies_are_schemas(model: Any) -> None:
    """The schema of a body accepts what the model accepts, and refuses an unknown field."""
    schema = document()["components"]["schemas"][model.__name__]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    assert validator.is_valid({"categories": ["quota"], "dry_run": True})
    assert not validator.is_valid({"category": ["quota"]})


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_error_of_the_api_has_the_declared_form(browser: Browser, method: str, path: str) -> None:
    """Without broker and ledger each route answers a declared status; an error is an object with its text."""
    answer = browser.ask(method, re.sub(r"{\w+}", "0123456789ab", path), json={"all": True})
    declared = document()["paths"][path][method]["responses"]

    assert str(answer.status_code) in declared
    if answer.is_error:
        assert ["error"] == list(answer.json())
        assert answer.json()["error"]

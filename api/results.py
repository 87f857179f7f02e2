"""Routes that return results, in the formats of `exports` or as pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

from flask import Response, request
from werkzeug.datastructures import MIMEAccept

from api import schema
from api.conditional import conditional_answer, result_tag
from api.errors import ApiError, unknown_photo
from api.keys import current_owner
from api.openapi import ApiBlueprint
from api.schema import ImagePath, MaskPath
from api.service import service
from exports import FORMATS, Format, export, find_format
from exports.annotation import annotate, kept_damage_kinds, kept_labels, part_names
from exports.pictures import damage_png, label_map_png, mask_png, overlay_png
from img_to_segments import PART_NAMES
from jobs.engine import PhotoStatus
from options import (
    OF_DAMAGE,
    OF_MASKS,
    OF_OVERLAYS,
    OPTION_SPECS,
    PLAIN,
    OptionError,
    Options,
    parse,
)
from photo_result import Result
from vision.labels import label_of

blueprint = ApiBlueprint("results", __name__, "type and parts of the car in a photo")

NOT_EXAMINED = (
    404,
    "This photo was not examined for damage; post it again with damage=true.",
)
EXAMINING = (400, "The photo is still being examined for damage.")

_ERRORS = schema.errors(400, 404)
_PICTURE: schema.Responses = {200: schema.PNG, **_ERRORS}


class ResultForm(NamedTuple):
    """The form of a result in an answer."""

    format: Format
    options: Options


@blueprint.get(
    "/<image_hash>/segments",
    summary="Get the result of a photo",
    responses={200: schema.ResultAnswer, **_ERRORS},
    openapi_extensions=schema.SEGMENTS_QUERY,
)
def get_segments(path: ImagePath) -> Response:
    """Return the body type and the parts, and the damage if the photo was examined for it.

    The answer is 400 while the photo is Uploaded or Processing, 404 if it ended in Error.
    """
    status = _status(path.image_hash)
    form = named_form(path.image_hash, asked_form())
    result = ended_result(status, form.options)
    tag = segments_tag(path.image_hash, result, form)
    return conditional_answer(tag, lambda: result_answer(path.image_hash, result, form))


@blueprint.get(
    "/<image_hash>/mask.png",
    summary="Get all masks in one picture",
    responses=_PICTURE,
    openapi_extensions=schema.MASK_QUERY,
)
def get_mask(path: ImagePath) -> Response:
    """Return a palette PNG: 0 for no part, else the number of the part.

    The basic parts are 1 to 18, the body panels 19 to 25.
    """
    return _picture(
        path.image_hash,
        "mask.png",
        OF_MASKS,
        lambda result, options: label_map_png(kept_labels(result, options)),
    )


@blueprint.get(
    "/<image_hash>/masks/<segment>.png",
    summary="Get the mask of one part",
    responses=_PICTURE,
    openapi_extensions=schema.MASK_QUERY,
)
def get_part_mask(path: MaskPath) -> Response:
    """Return a grey PNG: 255 in the part.

    The answer is 404 if the part was not found or is left out.
    """
    return _picture(
        path.image_hash,
        f"masks/{path.segment}.png",
        OF_MASKS,
        lambda result, options: _part_mask(result, options, path.segment),
    )


def _part_mask(result: Result, options: Options, name: str) -> bytes:
    """Return the mask of a part. Raises ApiError if it was not found or is left out."""
    if name not in PART_NAMES:
        raise ApiError(404, f"There is no such part; the parts are {', '.join(PART_NAMES)}.")
    mask = kept_labels(result, options) == label_of(name)
    if not mask.any():
        raise ApiError(404, f"No {name} was found in this photo.")
    return mask_png(mask)


@blueprint.get(
    "/<image_hash>/damage.png",
    summary="Get all damage in one picture",
    responses=_PICTURE,
    openapi_extensions=schema.DAMAGE_QUERY,
)
def get_damage(path: ImagePath) -> Response:
    """Return a palette PNG: 0 for no damage, else the number of its kind from 1 to 8.

    The answer is 404 if the photo was not examined for damage.
    """
    return _picture(
        path.image_hash,
        "damage.png",
        OF_DAMAGE,
        lambda result, options: damage_png(kept_damage_kinds(result, options)),
        shows_damage=True,
    )


@blueprint.get(
    "/<image_hash>/overlay.png",
    summary="Get a drawing of the parts",
    responses=_PICTURE,
    openapi_extensions=schema.OVERLAY_QUERY,
)
def get_overlay(path: ImagePath) -> Response:
    """Return a PNG with a transparent background, to show on top of the photo.

    The service does not keep the photo. Damage is hatched, if the photo was examined for it.
    """
    return _picture(
        path.image_hash,
        "overlay.png",
        OF_OVERLAYS,
        lambda result, options: overlay_png(annotate(path.image_hash, result, options)),
    )


def _picture(
    image_hash: str,
    name: str,
    option_names: Collection[str],
    write: Callable[[Result, Options], bytes],
    *,
    shows_damage: bool = False,
) -> Response:
    """Return a PNG made from a result, or 304 if the client has it already.

    Args:
        image_hash: hash of the photo.
        name: last part of the picture's address.
        option_names: names of the options that are allowed.
        write: makes the PNG.
        shows_damage: the picture is one of damage.

    Raises:
        ApiError: the photo is not Ready, or lacks damage that is demanded.
        OptionError: an option can't be used.
    """
    status = _status(image_hash)
    options = query_options(option_names)
    if shows_damage:
        options = replace(options, damage=True)
    result = ended_result(status, options)
    tag = result_tag(image_hash, name, result, options)
    return conditional_answer(
        tag, lambda: Response(write(result, options), content_type="image/png")
    )


def asked_form(others: Collection[str] = ()) -> ResultForm:
    """Return the form of a result that the query and the headers ask for.

    Args:
        others: names of parameters that are no options; they are ignored.

    Raises:
        OptionError: the format or an option can't be used.
    """
    chosen = _chosen(request.args.getlist("format"))
    form = ResultForm(chosen, query_options(OPTION_SPECS, others=["format", *others]))
    chosen.check(form.options)
    return form


def named_form(image_hash: str, form: ResultForm) -> ResultForm:
    """Return the form with the newest name under which the client posted the photo, if any."""
    if form.options.file_name is not None or not form.format.names_photo:
        return form
    names = service().engine.catalog.file_names(image_hash, current_owner())
    return form._replace(options=replace(form.options, file_name=names[0])) if names else form


def result_answer(image_hash: str, result: Result, form: ResultForm) -> Response:
    """Return the answer with a result in a form."""
    document = export(image_hash, result, form.format, form.options)
    answer = Response(document, content_type=form.format.media_type)
    answer.vary.add("Accept")
    return answer


def segments_tag(image_hash: str, result: Result, form: ResultForm) -> str:
    """Return the ETag of a result in a form."""
    return result_tag(image_hash, "segments", result, (form.format.name, form.options))


def _result(image_hash: str) -> Result:
    """Return the result of a photo that is Ready. Raises ApiError."""
    return ended_result(_status(image_hash))


def _status(image_hash: str) -> PhotoStatus | None:
    """Return the status of a photo that is Ready. Raises ApiError."""
    status = service().engine.find(image_hash, current_owner())
    ended_result(status)
    return status


def ended_result(status: PhotoStatus | None, options: Options = PLAIN) -> Result:
    """Return the result of a photo with a status.

    Raises:
        ApiError: the photo is not Ready, or the options demand damage that its result lacks.
    """
    if status is None:
        raise unknown_photo()
    if status.state == "Error":
        raise ApiError(404, status.message)
    if status.result is None:
        raise ApiError(400, f"The photo is not ready yet; its status is {status.state}.")
    if options.damage and status.result.damages is None:
        raise _no_damage(status)
    return status.result


def _no_damage(status: PhotoStatus) -> ApiError:
    """Return the error for a Ready photo whose result lacks damage."""
    if status.damage_pending:
        return ApiError(*EXAMINING)
    if status.damage_error is not None:
        # without advice to post it again, since a program that follows it might never end
        return ApiError(404, f"The examination for damage failed: {status.damage_error}")
    return ApiError(*NOT_EXAMINED)


def query_options(names: Collection[str], others: Collection[str] = ()) -> Options:
    """Return the options in the query of the current request.

    Without the option `parts`, the answer has the parts of the setting.

    Args:
        names: names of the options that are allowed.
        others: names of parameters that are no options; they are ignored.

    Raises:
        OptionError: an unknown name of an option or a part, a name given twice, or a value that
            can't be used.
    """
    given = request.args.to_dict(flat=False)
    options = parse({name: given[name] for name in given if name not in others}, names)
    options = replace(options, parts=options.parts or service().settings.parts)
    part_names(options)  # a wrong name is refused before a photo is accepted
    return options


def _chosen(names: list[str]) -> Format:
    """Return the named format, else the one that Accept prefers. Raises OptionError."""
    if len(names) > 1:
        raise OptionError("format is given more than once.")
    return find_format(names[0]) if names else _negotiated(request.accept_mimetypes)


def _negotiated(accept: MIMEAccept) -> Format:
    """Return the format that the client prefers; JSON if it has no preference.

    Browsers accept XML and SVG when a person opens an address. They get JSON all the same.
    """
    plain = FORMATS["json"]
    if any(value == "text/html" for value in accept.values()):
        return plain
    choice = [entry for entry in FORMATS.values() if entry.negotiable]
    best = max(choice, key=lambda entry: accept.quality(entry.media_type.partition(";")[0]))
    return best if accept.quality(best.media_type.partition(";")[0]) > 0 else plain

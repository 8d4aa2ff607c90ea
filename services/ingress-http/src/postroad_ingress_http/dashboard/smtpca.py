"""The certificate of the CA that mail programs must be told to trust, as a file."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from postroad_ingress_http.dashboard.visitor import SignedIn, SmtpPlaceOf
from postroad_ingress_http.http.errors import not_found

router = APIRouter(prefix="/dashboard/smtp-ca.pem", include_in_schema=False)


@router.get("")
def download(_: SignedIn, place: SmtpPlaceOf) -> Response:
    """Return the file that the settings name."""
    if not place.ca or not Path(place.ca).is_file():
        raise not_found("file")
    return FileResponse(place.ca, media_type="application/x-pem-file", filename="postroad-ca.pem")

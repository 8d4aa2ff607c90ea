"""`/v1/webhook`, `/v1/feedbackloop`: webhooks under both of the original service's names."""

from fastapi import APIRouter

from postroad_ingress_http.api import webhooks
from postroad_ingress_http.api.answers import REFUSALS

router = APIRouter(prefix="/v1", tags=["original"], responses=REFUSALS)

for _name in ("webhook", "feedbackloop"):
    router.post(f"/{_name}", status_code=201, name=f"original_{_name}", summary="Create a webhook")(
        webhooks.create
    )
router.get("/feedbackloops", name="original_feedbackloops", summary="List webhooks")(
    webhooks.listing
)

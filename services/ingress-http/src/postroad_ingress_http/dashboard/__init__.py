"""The dashboard: pages rendered on the server, which work with the keyboard and without scripts."""

from postroad_ingress_http.dashboard.site import Dashboard

__all__ = ["Dashboard"]

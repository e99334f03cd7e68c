"""The values of a service's secrets: read from the environment for each request, sent in the pinned header, kept nowhere."""

from collections.abc import Mapping

from helm_ai_kernel.pep.service import Service
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused


def secret_headers(service: Service, environ: Mapping[str, str]) -> dict[str, str]:
    """The headers that hold them; raises `Refused`. Whatever goes wrong with one is told by its name only."""
    found = {header: environ.get(variable, "") for header, variable in service.secrets}
    for header, variable in service.secrets:
        if not found[header]:
            detail = f"the variable `{variable}` is not set; it holds the header `{header}`"
            raise Refused(Reason.ERR_CONNECTOR_FAILED, detail, sub="secret_missing", hint=f"export {variable}=…")
    return found

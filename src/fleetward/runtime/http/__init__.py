"""The floor under the web programs: the server's console and API, the owner's, the technician's.

Strict decoding of requests, problem details for every error, security headers, the check of Host
and Origin, paging, times, static bundles and the OpenAPI document. It knows no route, no person
and no table.
"""

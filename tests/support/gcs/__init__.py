"""An in-process emulator of Google Cloud Storage, strict about the parts that checkpoints stand on.

The emulators on the package index ignore preconditions, so a lost update looks like a success there. This one keeps
what GCS documents: strong consistency, generations that only grow, 412 for a precondition that does not hold,
checksums that are verified, and uploads that show nothing before they are finished. Everything is in memory.

    with GcsServer() as server:
        fs = GCSFileSystem(endpoint_url=server.url, token="anon", project="p", skip_instance_cache=True)

    server.py         GcsServer: the listening socket, the two APIs behind it, the hooks for tests
    http.py           Request, Reply, Connection: HTTP/1.1 and nothing of GCS
    ranges.py         the Range header
    mime.py           multipart bodies: metadata with data, batches of requests
    faults.py         Fault: a failure ordered by a test
    errors.py         GcsError: every refusal, in the words of both APIs
    preconditions.py  Preconditions: ifGenerationMatch and its kin
    hashes.py         Hashes: crc32c and md5 in GCS's spelling
    objects.py        StoredObject, ObjectStore: buckets, objects, generations
    listing.py        a page of names (pure)
    json_api.py       the JSON API        inserts.py  its three ways to upload        resources.py  its replies
    xml_api.py        the XML API's multipart uploads
"""

from tests.support.gcs.http import Request
from tests.support.gcs.server import Call, GcsServer

__all__ = ["Call", "GcsServer", "Request"]

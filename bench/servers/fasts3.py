"""A server of S3's and GCS' interfaces that costs next to nothing, so that it is not what is measured.

Objects are in memory; a thread per connection; bodies are received into memory that is there and sent from it. It knows
what the benchmark's clients need: conditions, ranges, multipart uploads and copies, listings, bulk deletions, aws-chunked
bodies; GCS' media, multipart and resumable uploads, compose, rewrite. It checks no signature and no digest.

`POST /-/forget` drops all objects; their memory is used again.

    python -m bench.servers.fasts3 --port 9300                                   as fast as it can
    python -m bench.servers.fasts3 --port 9300 --latency-ms 20 --conn-mbps 80    as a cloud: per request, per connection
"""

import argparse
import base64
import contextlib
import hashlib
import json
import mmap
import re
import socket
import ssl
import threading
import time
import uuid
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from crc32c import crc32c


class Obj:
    __slots__ = ("_crc", "_md5", "bufs", "ctype", "etag", "gen", "meta", "mtime", "parts", "size")

    def __init__(self, bufs, size, etag, gen, ctype="application/octet-stream", meta=None, parts=None):
        self.bufs, self.size, self.etag, self.gen, self.ctype, self.meta, self.parts = (
            bufs,
            size,
            etag,
            gen,
            ctype,
            meta or {},
            parts,
        )
        self.mtime = time.time()
        self._crc = self._md5 = None

    def slices(self, a, b):
        off = 0
        for m in self.bufs:
            n = len(m)
            if off + n > a and off < b:
                yield memoryview(m)[max(0, a - off) : min(n, b - off)]
            off += n
            if off >= b:
                return


class Store:
    def __init__(self, etag="fast"):
        self.lock = threading.RLock()
        self.b = {}
        self.mpu = {}
        self.res = {}
        self.gen = int(time.time() * 1e6)
        self.etag = etag
        self.count = {}
        self.free = {}

    def memory(self, n):
        """Memory for n bytes: of an object that was forgotten, if there is some, since fresh memory costs more to take
        than bytes to receive, and then that would be what is measured."""
        with self.lock:
            free = self.free.get(n)
            return free.pop() if free else bytearray(n)

    def forget(self):
        """Drops all objects, and keeps the memory of those that no other object shares."""
        with self.lock:
            dropped = [o for bucket in self.b.values() for o in bucket.values()]
            for bucket in self.b.values():
                bucket.clear()
            for buf in {id(m): m for o in dropped for m in o.bufs if isinstance(m, bytearray)}.values():
                if len(buf) >= 1 << 20:
                    self.free.setdefault(len(buf), []).append(buf)

    def nextgen(self):
        with self.lock:
            self.gen += 1
            return self.gen

    def mketag(self, buf):
        if self.etag == "md5":
            return hashlib.md5(buf).hexdigest()
        return "%032x" % (self.nextgen() ^ (len(buf) << 64))


class HTTPErr(Exception):
    def __init__(self, status, code, msg="", extra=""):
        self.status, self.code, self.msg, self.extra = status, code, msg or code, extra


REASON = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    308: "Resume Incomplete",
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    500: "Internal Error",
    499: "Client Closed Request",
    501: "Not Implemented",
}


class Conn(threading.Thread):
    def __init__(self, srv, sock):
        super().__init__(daemon=True)
        self.srv, self.sock, self.st = srv, sock, srv.store
        self.rest = b""

    # ---- wire
    def run(self):
        try:
            if self.srv.tls:
                self.sock = self.srv.tls.wrap_socket(self.sock, server_side=True)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.one():
                pass
        except (ConnectionError, OSError, ssl.SSLError):
            pass
        finally:
            with contextlib.suppress(OSError):
                self.sock.close()

    def one(self):
        buf = self.rest
        while b"\r\n\r\n" not in buf:
            d = self.sock.recv(65536)
            if not d:
                return False
            buf += d
        head, self.rest = buf.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.method, target, _ = lines[0].split(" ", 2)
        self.h = h = {}
        for l in lines[1:]:
            k, _, v = l.partition(":")
            h[k.lower()] = v.strip()
        path, _, q = target.partition("?")
        self.rawpath = path
        self.path = unquote(path)
        self.q = dict(parse_qsl(q, keep_blank_values=True))
        self.body_read = False
        keep = h.get("connection", "").lower() != "close"
        t0 = time.perf_counter()
        if self.srv.latency:
            time.sleep(self.srv.latency)
        try:
            if self.path == "/-/forget":
                self.st.forget()
                self.reply(200)
            elif self.path.startswith(
                ("/storage/v1", "/upload/storage/v1", "/download/storage/v1", "/batch/storage", "/resumable/")
            ):
                self.gcs()
            else:
                self.s3()
        except HTTPErr as e:
            self.drain()
            if "/storage/v1" in self.path or self.path.startswith(("/resumable", "/batch")):
                self.reply(
                    e.status,
                    json.dumps(
                        {"error": {"code": e.status, "message": e.msg, "errors": [{"reason": e.code}]}}
                    ).encode(),
                    ctype="application/json",
                )
            else:
                self.reply(
                    e.status,
                    b""
                    if self.method == "HEAD"
                    else (
                        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{e.code}</Code><Message>{escape(e.msg)}</Message>{e.extra}<RequestId>1</RequestId></Error>'
                    ).encode(),
                    ctype="application/xml",
                )
        if self.srv.log is not None:
            self.srv.log.append((self.method, self.path, self.q, time.perf_counter() - t0))
        return keep

    def drain(self):
        if not self.body_read and (int(self.h.get("content-length", 0) or 0) or self.h.get("transfer-encoding")):
            self.body()

    def recv_sink(self, n):
        """--sink: read and forget; the object becomes a view of n zero bytes"""
        k = min(n, len(self.rest))
        self.rest = self.rest[k:]
        sc = self.scratch = getattr(self, "scratch", None) or memoryview(bytearray(1 << 20))
        while k < n:
            r = self.sock.recv_into(sc[: min(len(sc), n - k)])
            if not r:
                raise ConnectionError("short body")
            k += r
        return self.srv.zeros[:n]

    def recv_n(self, n):
        if self.srv.sink and n >= 1 << 20 and not self.srv.rate and self.q.get("uploadType") != "multipart":
            return self.recv_sink(n)
        out = self.st.memory(n)
        mv = memoryview(out)
        k = min(n, len(self.rest))
        if k:
            mv[:k] = self.rest[:k]
            self.rest = self.rest[k:]
        rate = self.srv.rate
        t0 = time.perf_counter()
        got0 = k
        while k < n:
            if self.srv.tls or rate:
                r = self.sock.recv_into(mv[k : k + 262144] if rate else mv[k:])
            else:
                r = self.sock.recv_into(mv[k:], 0, socket.MSG_WAITALL)
            if not r:
                raise ConnectionError("short body")
            k += r
            if rate:
                d = (k - got0) / rate - (time.perf_counter() - t0)
                if d > 0.001:
                    time.sleep(d)
        return out

    def recv_line(self):
        while b"\r\n" not in self.rest:
            d = self.sock.recv(65536)
            if not d:
                raise ConnectionError
            self.rest += d
        l, self.rest = self.rest.split(b"\r\n", 1)
        return l

    def body(self):
        """request body as a bytes-like object; decodes chunked transfer and aws-chunked content coding"""
        self.body_read = True
        if self.h.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        te = self.h.get("transfer-encoding", "").lower()
        aws = "aws-chunked" in self.h.get("content-encoding", "") or self.h.get("x-amz-content-sha256", "").startswith(
            "STREAMING-"
        )
        if te == "chunked":
            parts = []
            while True:
                n = int(self.recv_line().split(b";")[0], 16)
                if n == 0:
                    while self.recv_line():
                        pass
                    break
                parts.append(self.recv_n(n))
                self.recv_line()
            raw = parts[0] if len(parts) == 1 else bytearray().join(parts)
        else:
            n = int(self.h.get("content-length", 0) or 0)
            raw = self.recv_n(n) if n else b""
        if aws and self.srv.sink and len(raw) >= 1 << 20:
            return self.srv.zeros[: int(self.h["x-amz-decoded-content-length"])]
        if aws:
            out = bytearray(int(self.h["x-amz-decoded-content-length"]))
            o = p = 0
            mv = memoryview(raw)
            while True:
                e = raw.index(b"\r\n", p)
                n = int(bytes(raw[p:e]).split(b";")[0], 16)
                if n == 0:
                    break
                out[o : o + n] = mv[e + 2 : e + 2 + n]
                o += n
                p = e + 2 + n + 2
            return out
        return raw

    def reply(self, status, body=b"", ctype="application/xml", headers=(), slices=None, length=None):
        n = length if length is not None else len(body)
        h = [
            "HTTP/1.1 %d %s" % (status, REASON.get(status, "X")),
            "Date: " + formatdate(usegmt=True),
            "Server: fasts3",
            "x-amz-request-id: 1",
        ]
        if status not in (204, 304):
            h += ["Content-Length: %d" % n, "Content-Type: " + ctype]
        h += ["{}: {}".format(*kv) for kv in headers]
        head = ("\r\n".join(h) + "\r\n\r\n").encode()
        if self.method == "HEAD" or slices is None:
            self.sock.sendall(head if self.method == "HEAD" else head + body)
            return
        self.sock.sendall(head)
        rate = self.srv.rate
        t0 = time.perf_counter()
        k = 0
        for m in slices:
            if not rate:
                self.sock.sendall(m)
            else:
                for i in range(0, len(m), 131072):
                    self.sock.sendall(m[i : i + 131072])
                    k += min(131072, len(m) - i)
                    d = k / rate - (time.perf_counter() - t0)
                    if d > 0.001:
                        time.sleep(d)

    # ---- S3
    def s3(self):
        p = self.path.lstrip("/")
        bucket, _, key = p.partition("/")
        q, m, st = self.q, self.method, self.st
        if not bucket:
            return self.reply(
                200,
                (
                    "<ListAllMyBucketsResult><Buckets>{}</Buckets></ListAllMyBucketsResult>".format(
                        "".join(
                            f"<Bucket><Name>{b}</Name><CreationDate>2020-01-01T00:00:00.000Z</CreationDate></Bucket>"
                            for b in st.b
                        )
                    )
                ).encode(),
            )
        if not key:
            return self.s3_bucket(bucket)
        B = st.b.get(bucket)
        if B is None:
            raise HTTPErr(404, "NoSuchBucket")
        if m == "PUT" and "uploadId" in q:
            u = st.mpu.get(q["uploadId"])
            if u is None:
                raise HTTPErr(404, "NoSuchUpload")
            if "x-amz-copy-source" in self.h:
                self.drain()
                src = self.copysrc()
                a, b = 0, src.size
                r = re.match(r"bytes=(\d+)-(\d+)", self.h.get("x-amz-copy-source-range", ""))
                if r:
                    a, b = int(r[1]), int(r[2]) + 1
                data = bytearray().join(src.slices(a, b))
                et = st.mketag(data)
                u["parts"][int(q["partNumber"])] = (data, et)
                return self.reply(
                    200,
                    (
                        f"<CopyPartResult><LastModified>{iso(time.time())}</LastModified><ETag>&quot;{et}&quot;</ETag></CopyPartResult>"
                    ).encode(),
                )
            data = self.body()
            et = st.mketag(data)
            u["parts"][int(q["partNumber"])] = (data, et)
            return self.reply(200, headers=[("ETag", f'"{et}"')])
        if m == "PUT":
            if "x-amz-copy-source" in self.h:
                self.drain()
                src = self.copysrc()
                et = st.mketag(b"")
                with st.lock:
                    B[key] = Obj(src.bufs, src.size, et, st.nextgen())
                return self.reply(
                    200,
                    (
                        f"<CopyObjectResult><LastModified>{iso(time.time())}</LastModified><ETag>&quot;{et}&quot;</ETag></CopyObjectResult>"
                    ).encode(),
                )
            if "tagging" in q or "acl" in q:
                self.drain()
                return self.reply(200)
            data = self.body()
            et = st.mketag(data)
            with st.lock:
                self.precond(B.get(key))
                B[key] = Obj(
                    [data] if len(data) else [],
                    len(data),
                    et,
                    st.nextgen(),
                    self.h.get("content-type", "binary/octet-stream"),
                    {k: v for k, v in self.h.items() if k.startswith("x-amz-meta-")},
                )
            return self.reply(200, headers=[("ETag", f'"{et}"')])
        if m == "POST" and "uploads" in q:
            self.drain()
            uid = uuid.uuid4().hex
            st.mpu[uid] = {
                "bucket": bucket,
                "key": key,
                "parts": {},
                "t": time.time(),
                "meta": {k: v for k, v in self.h.items() if k.startswith("x-amz-meta-")},
            }
            return self.reply(
                200,
                (
                    f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{uid}</UploadId></InitiateMultipartUploadResult>"
                ).encode(),
            )
        if m == "POST" and "uploadId" in q:
            body = bytes(self.body()).decode()
            u = st.mpu.get(q["uploadId"])
            if u is None:
                raise HTTPErr(404, "NoSuchUpload")
            want = [
                (int(re.search(r"<PartNumber>(\d+)<", x)[1]), re.search(r"<ETag>(?:&quot;|\"|&#34;)?([^<&\"]+)", x)[1])
                for x in re.findall(r"<Part>(.*?)</Part>", body, re.S)
            ]
            if not want:
                raise HTTPErr(400, "MalformedXML")
            bufs = []
            for i, (n, et) in enumerate(want):
                pt = u["parts"].get(n)
                if pt is None or pt[1] != et:
                    raise HTTPErr(400, "InvalidPart")
                if len(pt[0]) < 5 << 20 and i + 1 < len(want) and not self.srv.small_parts:
                    raise HTTPErr(400, "EntityTooSmall")
                bufs.append(pt[0])
            et = st.mketag(b"") + "-%d" % len(want)
            with st.lock:
                self.precond(B.get(key))
                B[key] = Obj(bufs, sum(map(len, bufs)), et, st.nextgen(), meta=u.get("meta"), parts=len(want))
                st.mpu.pop(q["uploadId"], None)
            return self.reply(
                200,
                (
                    f"<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>&quot;{et}&quot;</ETag></CompleteMultipartUploadResult>"
                ).encode(),
            )
        if m == "DELETE" and "uploadId" in q:
            self.drain()
            if st.mpu.pop(q["uploadId"], None) is None:
                raise HTTPErr(404, "NoSuchUpload")
            return self.reply(204)
        if m == "DELETE":
            self.drain()
            with st.lock:
                o = B.get(key)
                if "if-match" in self.h and (o is None or self.h["if-match"].strip('"') not in ("*", o.etag)):
                    raise HTTPErr(412, "PreconditionFailed", extra="<Condition>If-Match</Condition>")
                B.pop(key, None)
            return self.reply(204)
        if m in ("GET", "HEAD") and "uploadId" in q:
            u = st.mpu.get(q["uploadId"])
            if u is None:
                raise HTTPErr(404, "NoSuchUpload")
            return self.reply(
                200,
                (
                    "<ListPartsResult><IsTruncated>false</IsTruncated>{}</ListPartsResult>".format(
                        "".join(
                            "<Part><PartNumber>%d</PartNumber><ETag>&quot;%s&quot;</ETag><Size>%d</Size></Part>"
                            % (n, e, len(d))
                            for n, (d, e) in sorted(u["parts"].items())
                        )
                    )
                ).encode(),
            )
        if m in ("GET", "HEAD"):
            o = B.get(key)
            if o is None:
                raise HTTPErr(404, "NoSuchKey" if m == "GET" else "404")
            return self.send_obj(o, s3=True)
        raise HTTPErr(501, "NotImplemented")

    def copysrc(self):
        b, _, k = unquote(self.h["x-amz-copy-source"]).lstrip("/").partition("/")
        o = self.st.b.get(b, {}).get(k.split("?versionId=")[0])
        if o is None:
            raise HTTPErr(404, "NoSuchKey")
        return o

    def precond(self, o):
        im, inm = self.h.get("if-match"), self.h.get("if-none-match")
        if inm and (inm == "*" and o is not None):
            raise HTTPErr(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
                "<Condition>If-None-Match</Condition>",
            )
        if im:
            if o is None:
                raise HTTPErr(404, "NoSuchKey")
            if im.strip('"') != o.etag:
                raise HTTPErr(
                    412,
                    "PreconditionFailed",
                    "At least one of the pre-conditions you specified did not hold",
                    "<Condition>If-Match</Condition>",
                )

    def send_obj(self, o, s3):
        im = self.h.get("if-match")
        if im and im.strip('"') != o.etag:
            raise HTTPErr(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
                "<Condition>If-Match</Condition>",
            )
        a, b, status = 0, o.size, 200
        hd = [
            ("Accept-Ranges", "bytes"),
            ("Last-Modified", formatdate(o.mtime, usegmt=True)),
            ("ETag", f'"{o.etag}"'),
            *list(o.meta.items() if s3 else ()),
        ]
        if not s3:
            hd += [
                ("x-goog-generation", o.gen),
                ("x-goog-stored-content-length", o.size),
                ("x-goog-hash", "crc32c=" + self.crc(o)),
            ]
        r = re.match(r"bytes=(\d*)-(\d*)$", self.h.get("range", ""))
        if r and (r[1] or r[2]):
            if r[1]:
                a = int(r[1])
                b = min(o.size, int(r[2]) + 1) if r[2] else o.size
            else:
                a = max(0, o.size - int(r[2]))
            if a >= o.size:
                raise HTTPErr(416, "InvalidRange")
            status = 206
            hd.append(("Content-Range", "bytes %d-%d/%d" % (a, b - 1, o.size)))
        elif self.q.get("partNumber") and s3:
            status = 206
            hd.append(("x-amz-mp-parts-count", o.parts or 1))
        self.reply(status, ctype=o.ctype, headers=hd, slices=o.slices(a, b), length=b - a)

    def s3_bucket(self, bucket):
        q, m, st = self.q, self.method, self.st
        if m == "PUT":
            self.drain()
            st.b.setdefault(bucket, {})
            return self.reply(200, headers=[("Location", "/" + bucket)])
        B = st.b.get(bucket)
        if B is None:
            raise HTTPErr(404, "NoSuchBucket")
        if m == "HEAD":
            return self.reply(200)
        if m == "DELETE":
            if B:
                raise HTTPErr(409, "BucketNotEmpty")
            st.b.pop(bucket)
            return self.reply(204)
        if m == "POST" and "delete" in q:
            body = bytes(self.body()).decode()
            keys = [unesc(k) for k in re.findall(r"<Key>(.*?)</Key>", body, re.S)]
            with st.lock:
                for k in keys:
                    B.pop(k, None)
            quiet = "<Quiet>true" in body
            return self.reply(
                200,
                (
                    "<DeleteResult>%s</DeleteResult>"
                    % ("" if quiet else "".join(f"<Deleted><Key>{escape(k)}</Key></Deleted>" for k in keys))
                ).encode(),
            )
        if "location" in q:
            return self.reply(
                200, b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>'
            )
        if "versioning" in q:
            return self.reply(200, b"<VersioningConfiguration></VersioningConfiguration>")
        if "uploads" in q:
            ups = [
                (u["key"], uid, u["t"])
                for uid, u in st.mpu.items()
                if u["bucket"] == bucket and u["key"].startswith(q.get("prefix", ""))
            ]
            return self.reply(
                200,
                (
                    "<ListMultipartUploadsResult><Bucket>{}</Bucket><IsTruncated>false</IsTruncated>{}</ListMultipartUploadsResult>".format(
                        bucket,
                        "".join(
                            f"<Upload><Key>{escape(k)}</Key><UploadId>{i}</UploadId><Initiated>{iso(t)}</Initiated></Upload>"
                            for k, i, t in sorted(ups)
                        ),
                    )
                ).encode(),
            )
        if m == "GET":
            pre, delim, mx = q.get("prefix", ""), q.get("delimiter", ""), int(q.get("max-keys", 1000) or 1000)
            after = q.get("continuation-token") or q.get("start-after") or q.get("marker") or ""
            items, cps, trunc = listing(B, pre, delim, mx, after)
            enc = (quote) if q.get("encoding-type") == "url" else escape
            x = "".join(
                "<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>"
                % (enc(k), iso(o.mtime), o.etag, o.size)
                for k, o in items
            )
            x += "".join(f"<CommonPrefixes><Prefix>{enc(c)}</Prefix></CommonPrefixes>" for c in cps)
            return self.reply(
                200,
                (
                    "<ListBucketResult><Name>%s</Name><Prefix>%s</Prefix><KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys>%s<IsTruncated>%s</IsTruncated>%s%s</ListBucketResult>"
                    % (
                        bucket,
                        enc(pre),
                        len(items) + len(cps),
                        mx,
                        "<EncodingType>url</EncodingType>" if enc is not escape else "",
                        "true" if trunc else "false",
                        f"<NextContinuationToken>{escape(trunc)}</NextContinuationToken>" if trunc else "",
                        x,
                    )
                ).encode(),
            )
        raise HTTPErr(501, "NotImplemented")

    # ---- GCS JSON
    def crc(self, o):
        if o._crc is None:
            c = 0
            for m in o.bufs:
                c = crc32c(m, c)
            o._crc = base64.b64encode(c.to_bytes(4, "big")).decode()
        return o._crc

    def res(self, b, k, o):
        d = {
            "kind": "storage#object",
            "name": k,
            "bucket": b,
            "id": "%s/%s/%d" % (b, k, o.gen),
            "generation": str(o.gen),
            "metageneration": "1",
            "size": str(o.size),
            "contentType": o.ctype,
            "updated": iso(o.mtime),
            "timeCreated": iso(o.mtime),
            "etag": "CA%d" % o.gen,
            "storageClass": "STANDARD",
        }
        if self.srv.gcs_hash:
            d["crc32c"] = self.crc(o)
            if o.parts is None:
                if o._md5 is None:
                    m = hashlib.md5()
                    for x in o.bufs:
                        m.update(x)
                    o._md5 = base64.b64encode(m.digest()).decode()
                d["md5Hash"] = o._md5
        if o.meta:
            d["metadata"] = o.meta
        return d

    def jr(self, d, status=200, headers=()):
        self.reply(status, json.dumps(d).encode(), ctype="application/json; charset=UTF-8", headers=headers)

    def gpre(self, o, q=None):
        q = self.q if q is None else q
        g = q.get("ifGenerationMatch")
        if g is not None and g != str(o.gen if o else 0):
            raise HTTPErr(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        g = q.get("ifGenerationNotMatch")
        if g is not None and g == str(o.gen if o else 0):
            raise HTTPErr(
                304 if self.method == "GET" else 412,
                "conditionNotMet",
                "At least one of the pre-conditions you specified did not hold.",
            )
        g = q.get("ifMetagenerationMatch")
        if g is not None and (o is None or g != "1"):
            raise HTTPErr(412, "conditionNotMet")

    def gput(self, b, k, bufs, ctype, meta, q=None, parts=None):
        st = self.st
        with st.lock:
            B = st.b.get(b)
            if B is None:
                raise HTTPErr(404, "notFound", "The specified bucket does not exist.")
            self.gpre(B.get(k), q)
            g = st.nextgen()
            o = B[k] = Obj(bufs, sum(map(len, bufs)), f"{g:x}", g, ctype, meta, parts)
        return o

    def gcs(self):
        st, q, m = self.st, self.q, self.method
        raw = [unquote(x) for x in self.rawpath.split("/")[1:]]
        if raw[0] == "resumable":
            return self.resumable(raw[1])
        if raw[0] == "batch":
            body = bytes(self.body()).decode()
            out = []
            bd = "batch_x"
            for x in re.findall(r"DELETE /storage/v1/b/([^/]+)/o/([^ ?]+)", body):
                b, k = map(unquote, x)
                ok = st.b.get(b, {}).pop(k, None) is not None
                out.append(
                    "--{}\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {}\r\n\r\n{}\r\n".format(
                        bd,
                        "204 No Content" if ok else "404 Not Found",
                        "" if ok else f'{{"error": {{"code": 404, "message": "No such object: {b}/{k}"}}}}',
                    )
                )
            return self.reply(200, ("".join(out) + f"--{bd}--").encode(), ctype="multipart/mixed; boundary=" + bd)
        up = raw[0] == "upload"
        i = raw.index("b") if "b" in raw else None
        if i is None:
            raise HTTPErr(501, "x")
        if len(raw) == i + 1:
            if m == "POST":
                n = json.loads(bytes(self.body()))["name"]
                st.b.setdefault(n, {})
                return self.jr({"kind": "storage#bucket", "name": n, "id": n})
            return self.jr({"kind": "storage#buckets", "items": [{"name": n, "id": n} for n in st.b]})
        b = raw[i + 1]
        if len(raw) == i + 2:
            if b not in st.b:
                raise HTTPErr(404, "notFound")
            if m == "DELETE":
                st.b.pop(b)
                return self.reply(204)
            return self.jr({"kind": "storage#bucket", "name": b, "id": b, "location": "US", "storageClass": "STANDARD"})
        if up:
            return self.gcs_upload(b)
        if b not in st.b:
            raise HTTPErr(404, "notFound")
        B = st.b[b]
        if len(raw) == i + 3:  # list
            items, cps, trunc = listing(
                B,
                q.get("prefix", ""),
                q.get("delimiter", ""),
                int(q.get("maxResults", 1000)),
                q.get("pageToken", ""),
                q.get("startOffset", ""),
                q.get("endOffset", ""),
            )
            d = {"kind": "storage#objects", "items": [self.res(b, k, o) for k, o in items], "prefixes": cps}
            if trunc:
                d["nextPageToken"] = trunc
            if not d["items"]:
                d.pop("items")
            if not cps:
                d.pop("prefixes")
            return self.jr(d)
        k = raw[i + 3]
        rest = raw[i + 4 :]
        if rest[:1] == ["compose"]:
            j = json.loads(bytes(self.body()))
            bufs = []
            for so in j["sourceObjects"]:
                o = B.get(so["name"])
                if o is None:
                    raise HTTPErr(404, "notFound")
                bufs += o.bufs
            if len(j["sourceObjects"]) > 32:
                raise HTTPErr(400, "invalid", "too many components")
            return self.jr(
                self.res(
                    b,
                    k,
                    self.gput(
                        b,
                        k,
                        bufs,
                        j.get("destination", {}).get("contentType", "application/octet-stream"),
                        {},
                        parts=len(bufs),
                    ),
                )
            )
        if rest[:1] == ["rewriteTo"]:
            self.drain()
            b2, k2 = rest[2], rest[4]
            o = B.get(k)
            if o is None:
                raise HTTPErr(404, "notFound")
            o2 = self.gput(b2, k2, o.bufs, o.ctype, o.meta)
            return self.jr(
                {
                    "kind": "storage#rewriteResponse",
                    "done": True,
                    "totalBytesRewritten": str(o.size),
                    "objectSize": str(o.size),
                    "resource": self.res(b2, k2, o2),
                }
            )
        if rest[:1] == ["moveTo"]:
            self.drain()
            with st.lock:
                o = B.pop(k, None)
                if o is None:
                    raise HTTPErr(404, "notFound")
                o2 = self.gput(b, rest[2], o.bufs, o.ctype, o.meta)
            return self.jr(self.res(b, rest[2], o2))
        o = B.get(k)
        if m == "DELETE":
            self.drain()
            with st.lock:
                o = B.get(k)
                if o is None:
                    raise HTTPErr(404, "notFound")
                self.gpre(o)
                B.pop(k)
            return self.reply(204)
        if o is None or (q.get("generation") and q["generation"] != str(o.gen)):
            self.drain()
            raise HTTPErr(404, "notFound", f"No such object: {b}/{k}")
        self.gpre(o)
        if q.get("alt") == "media":
            return self.send_obj(o, s3=False)
        if m in ("PATCH", "PUT"):
            o.meta.update(json.loads(bytes(self.body())).get("metadata", {}) or {})
        return self.jr(self.res(b, k, o))

    def gcs_upload(self, b):
        q, st = self.q, self.st
        t = q.get("uploadType")
        if t == "resumable":
            body = self.body()
            j = json.loads(bytes(body)) if body else {}
            if b not in st.b:
                raise HTTPErr(404, "notFound")
            name = q.get("name") or j["name"]
            if q.get("ifGenerationMatch") is not None:
                self.gpre(st.b[b].get(name))
            uid = uuid.uuid4().hex
            st.res[uid] = {
                "b": b,
                "k": name,
                "bufs": [],
                "n": 0,
                "ctype": self.h.get("x-upload-content-type", "application/octet-stream"),
                "meta": j.get("metadata", {}),
                "q": {k: v for k, v in q.items() if k.startswith("if")},
                "t": time.time(),
            }
            host = self.h.get("host")
            loc = "{}://{}/resumable/{}?upload_id={}".format("https" if self.srv.tls else "http", host, uid, uid)
            if q.get("ifGenerationMatch") is not None:
                loc += "&ifGenerationMatch=" + q["ifGenerationMatch"]
            return self.reply(200, b"", headers=[("Location", loc), ("X-GUploader-UploadID", uid)], ctype="text/plain")
        data = self.body()
        if t == "multipart":
            bd = re.search(r'boundary="?([^";]+)"?', self.h["content-type"])[1].encode()
            # find metadata part, then data part, without copying the payload
            p1 = data.index(b"--" + bd)
            nl = b"\r\n" if data[p1 + len(bd) + 2 : p1 + len(bd) + 4] == b"\r\n" else b"\n"
            h1 = data.index(nl + nl, p1) + 2 * len(nl)
            e1 = data.index(nl + b"--" + bd, h1)
            j = json.loads(bytes(data[h1:e1]))
            h2 = data.index(nl + nl, e1 + len(nl)) + 2 * len(nl)
            hdr2 = bytes(data[e1:h2]).decode("latin-1")
            e2 = data.rfind(nl + b"--" + bd + b"--")
            if e2 < 0:
                e2 = data.rfind(b"--" + bd + b"--")
            ct = re.search(r"(?i)content-type: *([^\r\n]+)", hdr2)
            o = self.gput(
                b,
                j.get("name") or q["name"],
                [memoryview(data)[h2:e2]] if e2 > h2 else [],
                ct[1] if ct else "application/octet-stream",
                j.get("metadata"),
            )
            return self.jr(self.res(b, j.get("name") or q["name"], o))
        o = self.gput(
            b, q["name"], [data] if len(data) else [], self.h.get("content-type", "application/octet-stream"), {}
        )
        return self.jr(self.res(b, q["name"], o))

    def resumable(self, uid):
        st = self.st
        u = st.res.get(uid)
        if self.method == "DELETE":
            self.drain()
            if st.res.pop(uid, None) is None:
                raise HTTPErr(404, "notFound")
            return self.reply(499, b"")
        if u is None:
            self.drain()
            raise HTTPErr(410 if False else 404, "notFound", "No such upload")
        r = re.match(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.h.get("content-range", ""))
        data = self.body()
        total = None
        if r is None:
            u["bufs"].append(data)
            u["n"] += len(data)
            total = u["n"]
        else:
            total = None if r[3] == "*" else int(r[3])
            if r[1] is not None:
                a = int(r[1])
                if a > u["n"]:
                    raise HTTPErr(503, "backendError")
                skip = u["n"] - a
                d = memoryview(data)[skip:]
                if len(d):
                    u["bufs"].append(d)
                    u["n"] += len(d)
        if total is not None and u["n"] >= total:
            o = self.gput(u["b"], u["k"], [x for x in u["bufs"] if len(x)], u["ctype"], u["meta"], u["q"])
            st.res.pop(uid, None)
            return self.jr(self.res(u["b"], u["k"], o))
        return self.reply(308, b"", headers=[("Range", "bytes=0-%d" % (u["n"] - 1))] if u["n"] else ())


def iso(t):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + ".%03dZ" % (t * 1000 % 1000)


def unesc(k):
    return (
        k.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&apos;", "'").replace("&amp;", "&")
    )


def listing(B, pre, delim, mx, after, start="", end=""):
    items, cps, last = [], [], None
    for k in sorted(k for k in list(B) if k.startswith(pre)):
        if (after and k <= after) or (start and k < start) or (end and k >= end):
            continue
        if cps and k.startswith(cps[-1]):
            last = k
            continue
        if len(items) + len(cps) >= mx:
            return items, cps, last
        if delim and delim in k[len(pre) :]:
            c = pre + k[len(pre) :].split(delim)[0] + delim
            if after and after.startswith(c):
                continue
            cps.append(c)
        else:
            o = B.get(k)
            if o is not None:
                items.append((k, o))
        last = k
    return items, cps, None


class Server:
    def __init__(
        self,
        port=0,
        bind="127.0.0.1",
        latency_ms=0,
        conn_mbps=0,
        tls=None,
        etag="fast",
        gcs_hash=True,
        small_parts=False,
        log=None,
        sink=False,
    ):
        self.store = Store(etag)
        self.latency = latency_ms / 1e3
        self.rate = conn_mbps * 1e6
        self.gcs_hash = gcs_hash
        self.small_parts = small_parts
        self.log = log
        self.sink = sink
        if sink:
            self.zeros = memoryview(mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | 0x4000, prot=mmap.PROT_READ))
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)
        self.ls = socket.socket()
        self.ls.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.ls.bind((bind, port))
        self.ls.listen(512)
        self.port = self.ls.getsockname()[1]

    def serve(self):
        while True:
            try:
                c, _ = self.ls.accept()
            except OSError:
                return
            Conn(self, c).start()

    def start(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return self


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("--port", type=int, default=9300)
    a.add_argument("--bind", default="127.0.0.1")
    a.add_argument("--latency-ms", type=float, default=0)
    a.add_argument("--conn-mbps", type=float, default=0)
    a.add_argument("--tls", nargs=2)
    a.add_argument("--etag", default="fast")
    a.add_argument("--no-gcs-hash", action="store_true")
    a.add_argument("--small-parts", action="store_true")
    a.add_argument("--sink", action="store_true", help="do not keep payloads >= 1 MiB")
    o = a.parse_args()
    Server(
        o.port, o.bind, o.latency_ms, o.conn_mbps, o.tls, o.etag, not o.no_gcs_hash, o.small_parts, sink=o.sink
    ).serve()

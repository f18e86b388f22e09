"""The gateway's store of uploaded code in S3: the server is that of the tests beside this one."""

import hashlib

import fsspec

from disco_gateway.codestore import FsspecCodeStore

CODE = bytes(range(256)) * 30_000
SHA256 = hashlib.sha256(CODE).hexdigest()


async def test_uploaded_code_is_kept_in_s3_shared_by_replicas_and_swept(s3: str) -> None:
    now_s = 1_000_000.0
    one, other = (FsspecCodeStore(s3, ttl_s=100, clock=lambda: now_s) for _ in range(2))
    assert not await one.has("team", SHA256)
    assert await one.read("team", SHA256) is None

    await one.put("team", SHA256, CODE)
    await one.put("team", SHA256, CODE)
    assert await other.has("team", SHA256)
    assert await other.read("team", SHA256) == CODE
    assert await other.read("other-team", SHA256) is None
    assert not await other.sweep()

    now_s += 200
    assert await other.sweep()
    assert not await one.has("team", SHA256)
    files = fsspec.core.url_to_fs(s3)[0]
    files.invalidate_cache()
    assert not files.find(s3)

"""The sandbox as a part of the local stack."""

import httpx2

from tests.stack import Stack


async def test_the_sandbox_is_a_part_of_the_stack(stack: Stack) -> None:
    status = stack.millrace("status").stdout.splitlines()
    (line,) = (line for line in status if line.startswith("sandbox "))
    assert "ready" in line.split()
    assert line.split()[-1] == stack.env["SANDBOX_URL"]
    async with httpx2.AsyncClient(base_url=stack.env["SANDBOX_URL"]) as client:
        assert (await client.get("/api/health")).json() == {"status": "healthy"}
    assert not [name for name in stack.env if name.startswith(("SECRET_", "SOURCE_"))]

"""Channels as the settings have them: one that could send nothing ends the notifier at its start, and says why."""

import httpx2
import pytest

from infra.processes.notifier import webhook
from infra.setting_groups import Channel, MissingSetting


async def made(secret: str | None) -> None:
    channel = Channel.model_validate({"url": "webhook+https://hooks.example.org/", "secret": secret})
    async with httpx2.AsyncClient() as client:
        webhook("ops", channel, client, allow_private=False)


@pytest.mark.parametrize("secret", [None, "", "whsec_", "whsec_x", "whsec_!!!!", "whsec_\u00e4"])
async def test_a_channel_without_a_secret_that_can_sign_is_refused(secret: str | None) -> None:
    with pytest.raises(MissingSetting, match=r"notify\.ops\.secret") as caught:
        await made(secret)
    assert "!!!!" not in str(caught.value)


@pytest.mark.parametrize("secret", ["whsec_c2VjcmV0", "c2VjcmV0"])
async def test_a_secret_may_have_its_prefix_or_not(secret: str) -> None:
    await made(secret)

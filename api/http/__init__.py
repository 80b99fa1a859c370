"""The query API. `app` builds it; a request passes `edge`, then `route`, which enforces what `access` says."""

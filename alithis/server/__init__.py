"""`alithis serve`: the page, a gateway to the local store, and a read API."""

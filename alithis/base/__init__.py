"""What everything stands on: files, HTTP, untrusted JSON, text, progress."""

"""For gunicorn, and any other WSGI server."""

import os


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/pid":
        body = str(os.getpid())
    elif path == "/generation":
        body = os.environ.get("SERVER_STARTER_GENERATION", "0")
    else:
        body = "Hello from gunicorn"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]

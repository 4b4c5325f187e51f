"""A web application as people write it for FastAPI: redirects, a login by cookie, streams, a WebSocket, generated docs.

It stands under the prefix that its proxy tells it, by the usual middleware for `root_path`.
"""

import asyncio

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import RedirectResponse, StreamingResponse

app = FastAPI()
may_end = asyncio.Event()


class Mounted:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            prefix = dict(scope["headers"]).get(b"x-forwarded-prefix", b"").decode()
            scope = {**scope, "root_path": prefix}
        await self.inner(scope, receive, send)


@app.get("/health")
def health():
    return {"ok": True}


@app.post("/items/")
async def items(request: Request):
    return {"body": (await request.body()).decode(), "here": str(request.url_for("items"))}


@app.get("/start")
def start():
    return RedirectResponse("/items-of-mine")


@app.get("/items-of-mine")
def items_of_mine(request: Request):
    return {"root": request.scope["root_path"], "client": request.client.host}


@app.post("/login")
def login(response: Response):
    response.set_cookie("user", "ada", httponly=True, samesite="lax")
    return {"ok": True}


@app.get("/me")
def me(request: Request):
    if "user" not in request.cookies:
        raise HTTPException(401, "log in first")
    return {"user": request.cookies["user"]}


@app.get("/stream")
def stream():
    async def pieces():
        yield "data: first\n\n"
        await may_end.wait()
        yield "data: last\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream")


@app.post("/go")
async def go():
    may_end.set()
    return {"ok": True}


@app.websocket("/chat")
async def chat(socket: WebSocket):
    await socket.accept()
    await socket.send_json({"user": socket.cookies.get("user"), "root": socket.scope["root_path"]})
    async for text in socket.iter_text():
        await socket.send_text(text.upper())


uvicorn.run(Mounted(app), host="127.0.0.1", port=0, proxy_headers=False)

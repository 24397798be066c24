import { type Files, handlerSaying, packageWithBuildStep } from "../../../test/support/repository.ts";

/** What the scripts in bench/k6 call. */

const BODY_BYTES = 8 * 1024 * 1024;

export const GREETING = "hello";

export const GREETER: Files = {
  "stack.yml": stackOf({ name: "hello", handler: "hello" }),
  "hello/handler.js": handlerSaying(GREETING),
};

export const PRIVATE: Files = {
  "stack.yml": stackOf({
    name: "private",
    handler: "private",
    more: "    annotations:\n      com.openfaas.cloud.auth: signed-in\n",
  }),
  "private/handler.js": handlerSaying(GREETING),
};

export const MIXED: Files = {
  "stack.yml": stackOf(...["hello", "page", "order", "slow"].map((name) => ({ name, handler: name }))),
  "hello/handler.js": handlerSaying(GREETING),
  "page/handler.js": handlerSaying("0123456789".repeat(1024)),
  "order/handler.js": handler("context.status(200).succeed(JSON.stringify(event.body))"),
  "slow/handler.js": handler(
    'new Promise((resolve) => setTimeout(resolve, 50)).then(() => context.status(200).succeed("slow"))',
  ),
};

const RAW_BODY = '    environment:\n      RAW_BODY: "true"\n      MAX_RAW_SIZE: 10mb\n';

export const LARGE_BODIES: Files = {
  "stack.yml": stackOf(
    { name: "upload", handler: "upload", more: RAW_BODY },
    { name: "download", handler: "download" },
  ),
  "upload/handler.js": handler(
    'context.status(200).succeed(require("node:crypto").createHash("sha256").update(event.body).digest("hex"))',
  ),
  "download/handler.js": `"use strict";
const body = Buffer.alloc(${BODY_BYTES}, "x");
module.exports = async (event, context) => context.status(200).succeed(body);
`,
};

/** Echoes WebSocket messages, with nothing but Go's own library. */
export const WEBSOCKET: Files = {
  "stack.yml": stackOf({ name: "echo", handler: "echo", lang: "golang-middleware" }),
  "echo/handler.go": `package function

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net/http"
)

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Handle upgrades, and sends every short frame back until the client closes (RFC 6455).
func Handle(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if key == "" {
		http.Error(w, "a WebSocket was expected", http.StatusUpgradeRequired)
		return
	}
	sum := sha1.Sum([]byte(key + guid))
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	w.WriteHeader(http.StatusSwitchingProtocols)
	connection, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	for echo(buffered) == nil {
	}
}

func echo(stream *bufio.ReadWriter) error {
	head := make([]byte, 6)
	if _, err := io.ReadFull(stream, head); err != nil {
		return err
	}
	length := head[1] & 0x7f
	if length > 125 {
		return io.ErrShortBuffer
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(stream, payload); err != nil {
		return err
	}
	for i := range payload {
		payload[i] ^= head[2+i%4]
	}
	stream.Write([]byte{head[0], length})
	stream.Write(payload)
	if err := stream.Flush(); err != nil {
		return err
	}
	if head[0]&0x0f == 8 {
		return io.EOF
	}
	return nil
}
`,
};

/** A function whose build keeps a core busy for some time. */
export function slowToBuild(name: string, answer: string): Files {
  const ms = 5_000;
  return {
    "stack.yml": stackOf({ name, handler: name }),
    [`${name}/handler.js`]: handlerSaying(answer),
    [`${name}/package.json`]: packageWithBuildStep(
      `for (const end = Date.now() + ${ms}; Date.now() < end; );`,
    ),
  };
}

function handler(expression: string): string {
  return `"use strict";\nmodule.exports = (event, context) => ${expression};\n`;
}

function stackOf(
  ...functions: readonly { name: string; handler: string; lang?: string; more?: string }[]
): string {
  const entries = functions.map(
    ({ name, handler, lang = "node22", more = "" }) =>
      `  ${name}:\n    lang: ${lang}\n    handler: ./${handler}\n${more}`,
  );
  return `version: 1.0\nprovider:\n  name: openfaas\nfunctions:\n${entries.join("")}`;
}

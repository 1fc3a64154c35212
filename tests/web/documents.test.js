// asyncapi.yaml, read by AsyncAPI's own parser. What it says is held against the daemon in tests/e2e (contract.py).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { SOURCES, requireTool } from "./tools.js";

const { Parser } = requireTool("@asyncapi/parser");
const text = readFileSync(`${SOURCES}asyncapi.yaml`, "utf8");
const isBad = ({ severity, code }) => severity <= 1 && code !== "asyncapi-latest-version";

test("asyncapi.yaml is valid, and every message is used by an operation", async () => {
  const { document, diagnostics } = await new Parser().parse(text);
  assert.deepEqual(diagnostics.filter(isBad), []);
  const names = (messages) => messages.all().map((message) => message.id()).sort();
  const used = document.operations().all().flatMap((operation) => [...names(operation.messages()), ...names(operation.reply()?.messages() ?? { all: () => [] })]);
  assert.deepEqual([...new Set(used)].sort(), names(document.components().messages()));
});

test("the parser finds what is wrong", async () => {
  const { diagnostics } = await new Parser().parse(text.replace("action: send", "action: shout"));
  assert.ok(diagnostics.some(isBad));
});

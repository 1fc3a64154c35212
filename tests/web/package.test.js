// The client as a package: its types hold, its size is bounded, its version is the daemon's, the two lists of names agree.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import * as client from "../../src/web/client.js";
import * as fallback from "../../src/web/client-fallback.js";
import * as tabs from "../../src/web/client-tabs.js";
import { ROOT, SOURCES, requireTool } from "./tools.js";

test("the types are those of the code, and a page in TypeScript compiles", () => {
  const compiler = requireTool.resolve("typescript/lib/tsc.js");
  const run = () => execFileSync(process.execPath, [compiler, "--project", `${ROOT}tests/web/tsconfig.json`], { encoding: "utf8" });
  assert.doesNotThrow(run, (error) => assert.fail(error.stdout));
  const internal = ["Core"];
  for (const [name, module] of Object.entries({ client, "client-fallback": fallback, "client-tabs": tabs })) {
    const types = readFileSync(`${SOURCES}${name}.d.ts`, "utf8");
    const declared = [...types.matchAll(/^export (?:const|function|class) (\w+)/gm)].map(([, name]) => name);
    assert.deepEqual(declared.sort(), Object.keys(module).filter((name) => !internal.includes(name)).sort(), name);
  }
});

test("installed as a package, its types are found the way that compilers of today and of yesterday look for them", () => {
  const dir = mkdtempSync(join(tmpdir(), "tickerd-package-"));
  try {
    const { files } = JSON.parse(readFileSync(`${SOURCES}package.json`, "utf8"));
    const installed = join(dir, "node_modules/tickerd");
    mkdirSync(join(dir, "node_modules/@types"), { recursive: true });
    mkdirSync(installed);
    for (const file of ["package.json", ...files]) copyFileSync(SOURCES + file, join(installed, file));
    for (const name of ["@types/react", "csstype"]) symlinkSync(`${ROOT}target/web/node_modules/${name}`, join(dir, "node_modules", name));
    writeFileSync(join(dir, "page.tsx"), PAGE);
    const compiler = requireTool.resolve("typescript/lib/tsc.js");
    for (const [resolution, module] of [["nodenext", "nodenext"], ["bundler", "esnext"], ["node10", "esnext"]]) {
      const options = ["--strict", "--noEmit", "--jsx", "react-jsx", "--target", "es2022", "--lib", "es2023,dom", "--types", "react"];
      const run = () => execFileSync(process.execPath, [compiler, ...options, "--moduleResolution", resolution, "--module", module, "page.tsx"], { cwd: dir, encoding: "utf8" });
      assert.doesNotThrow(run, (error) => assert.fail(`${resolution}: ${error.stdout}`));
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});

const PAGE = `
import { connect, type RoomEvent } from "tickerd";
import { TickerdProvider, useConnection, useLiveChallenge, useRoom } from "tickerd/react";
const client = connect({ token: () => fetch("/session/token").then((answer) => answer.text()), shared: true });
client.room("challenge:8f").on("event", (event: RoomEvent) => event.data);
function Desk() {
  const { equityData } = useLiveChallenge("8f", "token", { shared: true });
  return <p>{equityData?.current_equity} {useRoom("quote:1").events.length} {useConnection().state}</p>;
}
export const app = <TickerdProvider client={client}><Desk /></TickerdProvider>;
`;

test("the client has less than 12 KB, compressed", () => {
  const bytes = gzipSync(readFileSync(`${SOURCES}client.js`), { level: 9 }).length;
  assert.ok(bytes < 12_000, `${bytes} bytes`);
});

test("the package has the daemon's version, and every file that it names", () => {
  const { version, files } = JSON.parse(readFileSync(`${SOURCES}package.json`, "utf8"));
  assert.equal(version, readFileSync(`${ROOT}Cargo.toml`, "utf8").match(/^version = "(.*)"$/m)[1]);
  for (const file of files) assert.ok(readFileSync(SOURCES + file).length > 0, file);
});

test("an acknowledgment without an event says what is missing", () => {
  const transport = () => ({ send() {}, close() {} });
  const page = new client.Client({ url: "ws://127.0.0.1:9/v1/ws", token: "t", transport });
  assert.throws(() => page.ack("e1"), { name: "TypeError", message: /event_id/ });
  page.close();
});

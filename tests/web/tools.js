// What `tests/run tools` installed for these tests: packages below target/web, by the lock file beside this one.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const SOURCES = `${ROOT}src/web/`;
export const requireTool = createRequire(`${ROOT}target/web/package.json`);

// React as a browser's script: npm has it as CommonJS alone. All modules that are needed, by path, and a `require` over them.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { requireTool } from "./tools.js";

/** `entries`: the name that pages use → the package to take for it. */
export function bundle(entries) {
  const modules = new Map();
  const roots = Object.entries(entries).map(([name, path]) => [name, requireTool.resolve(path)]);
  const aliases = new Map(Object.entries(entries).map(([name, path]) => [name, requireTool.resolve(path)]));
  const add = (path) => {
    if (modules.has(path)) return;
    const text = readFileSync(path, "utf8");
    const needed = {};
    modules.set(path, { text, needed });
    for (const [, name] of text.matchAll(/\brequire\(["']([^"']+)["']\)/g)) {
      if (name.includes("production")) continue;
      needed[name] = aliases.get(name) ?? createRequire(path).resolve(name);
      add(needed[name]);
    }
  };
  for (const [, path] of roots) add(path);
  const functions = [...modules].map(([path, { text, needed }]) => {
    return `${JSON.stringify(path)}: [function (module, exports, require) {${text}\n}, ${JSON.stringify(needed)}]`;
  });
  return `(() => {
    const [modules, made] = [{${functions.join(",\n")}}, {}];
    globalThis.process = { env: { NODE_ENV: "development" } };
    function load(path) {
      if (!made[path]) {
        const [body, needed] = modules[path];
        made[path] = { exports: {} };
        body(made[path], made[path].exports, (name) => load(needed[name]));
      }
      return made[path].exports;
    }
    globalThis.commonjs = { ${roots.map(([name, path]) => `${JSON.stringify(name)}: load(${JSON.stringify(path)})`).join(", ")} };
  })();`;
}

/** An ES module with the exports of one of those packages. */
export function asModule(name, names) {
  const given = names.map((each) => `export const ${each} = all.${each};`).join("\n");
  return `const all = globalThis.commonjs[${JSON.stringify(name)}];\nexport default all;\n${given}`;
}

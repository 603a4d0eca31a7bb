// A `solc --standard-json` out of npm's WebAssembly build, for py-solc-x and slither.
// ~/.solcx/solc-v… (written by install_solc.py) runs it; it answers --version itself.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { parseArgs } = require("node:util");

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "standard-json": { type: "boolean" },
    "base-path": { type: "string", default: "." },
    "include-path": { type: "string", multiple: true, default: [] },
    // solc's own guards against reading elsewhere: readImport below is narrower than any of them.
    "allow-paths": { type: "string" },
  },
});
if (!flags["standard-json"]) {
  console.error("Error: this solc knows --version and --standard-json only");
  process.exit(1);
}

const roots = [flags["base-path"], ...flags["include-path"]].map((root) => path.resolve(root));

/** Reads an import from inside one of the roots, and from nowhere else. */
function readImport(name) {
  for (const root of roots) {
    const file = path.resolve(root, name);
    if (file.startsWith(root + path.sep) && fs.existsSync(file)) {
      return { contents: fs.readFileSync(file, "utf8") };
    }
  }
  return { error: `not found under ${roots.join(" or ")}` };
}

const input = fs.readFileSync(positionals.length ? positionals[0] : 0, "utf8");
const output = require("solc").compile(input, { import: readImport });
fs.writeFileSync(1, `${output}\n`);

/** Builds the page into alithis/web/: a script, a worker and a style sheet, each with a hash of its content in its name,
 * so that they can be cached for ever; and the licences of the libraries in them. */

import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const web = dirname(fileURLToPath(import.meta.url));
const out = join(web, "..", "alithis", "web");
const ENTRIES = { "page.js": "src/page/main.js", "worker.js": "src/work/worker.js", "style.css": "style.css" };

const LIBRARIES = ["@noble/hashes", "hash-wasm", "hyparquet"];

/** @param {string} entry */
async function bundled(entry) {
  const { outputFiles } = await build({
    entryPoints: [join(web, entry)],
    bundle: true,
    minify: true,
    write: false,
    format: entry.includes("worker") ? "iife" : "esm",
    target: "es2022",
    legalComments: "eof",
    charset: "utf8",
  });
  return outputFiles[0].contents;
}

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
let page = await readFile(join(web, "index.html"), "utf8");
for (const [name, entry] of Object.entries(ENTRIES)) {
  const contents = await bundled(entry);
  const hash = createHash("sha256").update(contents).digest("hex").slice(0, 12);
  const hashed = name.replace(".", `.${hash}.`);
  await writeFile(join(out, hashed), contents);
  page = page.replace(`%${name}%`, hashed);
}
await writeFile(join(out, "index.html"), page);
const licences = LIBRARIES.map(async (name) => {
  const text = await readFile(join(web, "..", "node_modules", name, "LICENSE"), "utf8");
  return `${name}\n\n${text}`;
});
await writeFile(join(out, "licences.txt"), (await Promise.all(licences)).join("\n\n"));
await copyFile(join(web, "config.json"), join(out, "config.json"));

// Makes controller.wasm of controller.js: a component with a JavaScript engine in it.
import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

const { component } = await componentize({
  sourcePath: "controller.js",
  // `cargo coprocessor wit -o wit/controller.wit` writes it.
  witPath: "wit",
  worldName: "program",
  // The sandbox has none of these: every run has to be the same again.
  disableFeatures: ["clocks", "fetch-event", "http", "random", "stdio"],
});
await writeFile("controller.wasm", component);
console.log(`controller.wasm  ${component.length} bytes`);

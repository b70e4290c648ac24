// The controller of guests/hello in JavaScript: the same request, the same witness, the same circuit.
import { log } from "coprocessor:controller/console@1.0.0";
import { readFile, writeFile } from "coprocessor:controller/storage@1.0.0";

/** Turns `{"name": "…"}` into the circuit's witness: the name, as data. A string that is thrown ends the task with its text. */
export function getWitnesses(args) {
  const { name, ...others } = JSON.parse(args);
  if (typeof name !== "string") throw "`name` is missing, or no string";
  if (Object.keys(others).length > 0) throw `unknown field \`${Object.keys(others)[0]}\`, expected \`name\``;
  log(`greeting ${name}`);
  return [{ tag: "data", val: new TextEncoder().encode(name) }];
}

/** Counts deliveries in a file, and keeps the last proof in another. */
export function entrypoint(args) {
  const { proof } = JSON.parse(args);
  const delivered = 1 + Number(text(readFile("count.txt")) || 0);
  writeFile("count.txt", bytes(String(delivered)));
  if (proof) writeFile("proofs/last.b64", bytes(proof));
  return JSON.stringify({ delivered });
}

const bytes = (text) => new TextEncoder().encode(text);

/** Of a file that is not there, an empty one's. */
const text = (bytes) => (bytes ? new TextDecoder().decode(bytes) : "");
